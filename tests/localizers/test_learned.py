"""The learned localizer: it finds what is planted, and its weights travel as a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from localize_logs import case, planted

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.localizers.base import TEXT_ONLY
from apportion.pipeline.localizers.learned import Learned
from apportion.pipeline.localizers.ranking.ranker import Options, fit
from apportion.pipeline.localizers.ranking.step_ranker import StepRanker
from apportion.pipeline.localizers.ranking.subspaces import fit_averaged
from apportion.pipeline.localizers.signals import content, roles, turns
from apportion.pipeline.localizers.signals.base import TextFeatures

FEW = (roles.signal, content.signal, turns.signal)


def test_it_finds_planted_errors_in_logs_it_has_not_seen() -> None:
    learned = StepRanker(TextFeatures(FEW)).fit([planted(i) for i in range(18)])
    asked = [planted(i) for i in range(20, 26)]
    for one, verdict in zip(asked, learned.judge([replace(one, label=None) for one in asked]), strict=True):
        assert one.label is not None
        assert verdict.steps.argmax() == one.label.step
        assert max(verdict.agents, key=lambda name: verdict.agents[name]) == one.label.agent
        assert np.exp(verdict.steps).sum() == pytest.approx(1)


def test_it_says_nothing_before_it_has_learned() -> None:
    verdict = StepRanker(TextFeatures(FEW)).judge([planted(0)])[0]
    assert len(set(verdict.steps.tolist())) == 1
    assert len(set(verdict.agents.values())) == 1
    assert StepRanker(TextFeatures(FEW)).fit([replace(planted(0), label=None)]).trained_on == frozenset()


def test_an_agent_is_as_suspect_as_its_likeliest_step() -> None:
    learned = StepRanker(TextFeatures(FEW)).fit([planted(i) for i in range(18)])
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


def test_the_weights_travel_as_a_file(tmp_path: Path) -> None:
    learned = StepRanker(TextFeatures(FEW)).fit([planted(i) for i in range(12)])
    learned.save(tmp_path / "weights.json")
    again = StepRanker.load(tmp_path / "weights.json", TextFeatures(FEW))
    asked = [planted(30)]
    assert again.judge(asked)[0].steps.tolist() == learned.judge(asked)[0].steps.tolist()
    assert again.trained_on == learned.trained_on == frozenset(planted(i).question_id for i in range(12))


def test_weights_for_other_signals_or_another_scorer_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.json"
    StepRanker(TextFeatures(FEW)).fit([planted(i) for i in range(6)]).save(file)
    with pytest.raises(UserError, match="other signals than these"):
        StepRanker.load(file, TextFeatures(FEW[:2]))
    with pytest.raises(UserError, match="other signals than these"):
        StepRanker.load(file, TextFeatures((*FEW[:2], replace(turns.signal, version=2))))
    record = json.loads(file.read_text()) | {"scorer": "one"}
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match="another scorer"):
        StepRanker.load(file, TextFeatures(FEW))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"signals": 3}', "NaN"])
def test_what_is_no_weights_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "w.json").write_text(text)
    with pytest.raises(UserError, match=r"w\.json: no weights"):
        StepRanker.load(tmp_path / "w.json", TextFeatures(FEW))


def test_a_weight_that_is_no_number_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.json"
    StepRanker(TextFeatures(FEW)).fit([planted(i) for i in range(6)]).save(file)
    record = json.loads(file.read_text())
    record["steps"][next(iter(record["steps"]))] = float("nan")
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match="no finite number"):
        StepRanker.load(file, TextFeatures(FEW))


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
    options = [Options(np.column_stack([one] * 4 + [rng.normal(size=4)]), int(one.argmax())) for one in flags]
    weights = fit_averaged(options, 1.0, np.zeros(5, dtype=bool), share=0.4, members=20).weights
    assert weights[:4].min() > 5 * abs(weights[4])
    whole = fit_averaged(options, 1.0, np.ones(5, dtype=bool)).weights
    assert whole == pytest.approx(fit(options, 1.0).weights)
