"""The learned localizer: it finds what is planted, and its weights travel as a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from localize_logs import case, planted

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.localizers.base import TEXT_ONLY
from apportion.pipeline.localizers.learned import Learned, StepRanker
from apportion.pipeline.localizers.ranking.ranker import Options, fit, fit_averaged
from apportion.pipeline.localizers.signals import content, roles, turns
from apportion.pipeline.localizers.signals.base import Features

FEW = (roles, content, turns)


def test_it_finds_planted_errors_in_logs_it_has_not_seen() -> None:
    learned = StepRanker(Features(FEW)).fit([planted(i) for i in range(18)])
    asked = [planted(i) for i in range(20, 26)]
    for one, verdict in zip(asked, learned.judge([replace(one, label=None) for one in asked]), strict=True):
        assert one.label is not None
        assert verdict.steps.argmax() == one.label.step
        assert max(verdict.agents, key=lambda name: verdict.agents[name]) == one.label.agent
        assert np.exp(verdict.steps).sum() == pytest.approx(1)


def test_it_says_nothing_before_it_has_learned() -> None:
    verdict = StepRanker(Features(FEW)).judge([planted(0)])[0]
    assert len(set(verdict.steps.tolist())) == 1
    assert len(set(verdict.agents.values())) == 1
    assert StepRanker(Features(FEW)).fit([replace(planted(0), label=None)]).trained_on == frozenset()


def test_an_agent_is_as_suspect_as_its_likeliest_step() -> None:
    learned = StepRanker(Features(FEW)).fit([planted(i) for i in range(18)])
    verdict = learned.judge(
        [
            case(
                ("a", "We go on."),
                ("b", "We assume five."),
                (
                    "a",
                    "We go on.",
                ),
            )
        ]
    )[0]
    assert verdict.agents == {"a": max(verdict.steps[[0, 2]]), "b": verdict.steps[1]}
    assert verdict.agents["b"] > verdict.agents["a"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"signals": 3}', "NaN"])
def test_what_is_no_weights_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "w.json").write_text(text)
    with pytest.raises(UserError, match=r"w\.json: no weights"):
        StepRanker.load(tmp_path / "w.json", Features(FEW))


def test_the_shipped_weights_load_and_judge_any_log() -> None:
    learned = Learned()
    assert len(learned.trained_on) > 50
    (verdict,) = learned.judge([case(("a", "We assume it is 5."), ("b", "TERMINATE"), reference=None)], TEXT_ONLY)
    assert verdict.steps[0] > verdict.steps[1]
    assert set(verdict.agents) == {"a", "b"}
    assert learned.cut_share([planted(0)], TEXT_ONLY) == 0


def test_each_column_may_have_its_own_prior() -> None:
    options = [Options(np.array([[1.0, 1.0], [0.0, 0.0]]), 0)] * 20
    weights = fit(options, np.array([1.0, 100.0])).weights
    assert weights[0] > 10 * weights[1] > 0


def test_averaging_keeps_a_column_that_others_copy() -> None:
    rng = np.random.default_rng(0)
    flags = [rng.permutation(np.eye(4)[0]) for _ in range(40)]
    options = [Options(np.column_stack([one] * 7 + [rng.normal(size=4)]), int(one.argmax())) for one in flags]
    weights = fit_averaged(options, 1.0, np.zeros(8, dtype=bool)).weights
    assert weights[:7].min() > 5 * abs(weights[7])
    whole = fit_averaged(options, 1.0, np.ones(8, dtype=bool)).weights
    assert whole == pytest.approx(fit(options, 1.0).weights)
