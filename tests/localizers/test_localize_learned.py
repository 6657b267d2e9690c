"""The learned localizer: it finds what is planted, and its weights travel as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from localize.logs import case
from scripted import ScriptedEngine

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.engines.base import Progress, Score, ScoreRequest
from apportion.pipeline.localizers import features
from apportion.pipeline.localizers.features import Features
from apportion.pipeline.localizers.learned import Learned, shipped
from apportion.pipeline.localizers.ranker import Options, fit
from apportion.pipeline.localizers.signals import content, roles, surprise, turns, value
from apportion.pipeline.localizers.subspaces import fit_averaged
from apportion.pipeline.trajectory.case import Case, Label

AGENTS = ("Plan_Expert", "Data_Expert", "Verification_Expert")
FEW = (roles.signal, content.signal, turns.signal)


def planted(number: int) -> Case:
    """A log of six messages in which the one that assumes something is to blame."""
    guilty = number * 7 % 6
    said = [(AGENTS[(i + number) % 3], "We assume five." if i == guilty else "We go on.") for i in range(6)]
    return case(*said, question=f"question {number}", label=Label(guilty, said[guilty][0]))


def test_it_finds_planted_errors_in_logs_it_has_not_seen() -> None:
    learned = Learned(Features(FEW)).fit([planted(i) for i in range(18)])
    asked = [planted(i) for i in range(20, 26)]
    for one, verdict in zip(asked, learned.judge([replace(one, label=None) for one in asked]), strict=True):
        assert one.label is not None
        assert verdict.steps.argmax() == one.label.step
        assert max(verdict.agents, key=lambda name: verdict.agents[name]) == one.label.agent
        assert np.exp(verdict.steps).sum() == pytest.approx(1)


def test_it_says_nothing_before_it_has_learned() -> None:
    verdict = Learned(Features(FEW)).judge([planted(0)])[0]
    assert len(set(verdict.steps.tolist())) == 1
    assert len(set(verdict.agents.values())) == 1
    assert Learned(Features(FEW)).fit([replace(planted(0), label=None)]).trained_on == frozenset()


def test_an_agent_is_as_suspect_as_its_likeliest_step() -> None:
    learned = Learned(Features(FEW)).fit([planted(i) for i in range(18)])
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
    learned = Learned(Features(FEW)).fit([planted(i) for i in range(12)])
    learned.save(tmp_path / "weights.json")
    again = Learned.load(tmp_path / "weights.json", Features(FEW))
    asked = [planted(30)]
    assert again.judge(asked)[0].steps.tolist() == learned.judge(asked)[0].steps.tolist()
    assert again.trained_on == learned.trained_on == frozenset(planted(i).question_id for i in range(12))


def test_weights_for_other_signals_or_another_scorer_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.json"
    Learned(Features(FEW)).fit([planted(i) for i in range(6)]).save(file)
    with pytest.raises(UserError, match="other signals than these"):
        Learned.load(file, Features(FEW[:2]))
    with pytest.raises(UserError, match="other signals than these"):
        Learned.load(file, Features((*FEW[:2], replace(turns.signal, version=2))))
    asks = (*FEW, surprise.signal)
    engine = ScriptedEngine()
    Learned(Features(asks, lambda: engine, "one")).fit([planted(i) for i in range(6)]).save(file)
    assert Learned.load(file, Features(asks, lambda: engine, "one")).steps is not None
    with pytest.raises(UserError, match="another scorer"):
        Learned.load(file, Features(asks, lambda: engine, "two"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"signals": 3}', "NaN"])
def test_what_is_no_weights_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "w.json").write_text(text)
    with pytest.raises(UserError, match=r"w\.json: no weights"):
        Learned.load(tmp_path / "w.json", Features(FEW))


def test_a_weight_that_is_no_number_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.json"
    Learned(Features(FEW)).fit([planted(i) for i in range(6)]).save(file)
    record = json.loads(file.read_text())
    record["steps"][next(iter(record["steps"]))] = float("nan")
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match="no finite number"):
        Learned.load(file, Features(FEW))


def test_the_shipped_weights_load_and_judge_any_log() -> None:
    learned = shipped()
    assert len(learned.trained_on) > 50
    verdict = learned.judge([case(("a", "We assume it is 5."), ("b", "TERMINATE"), reference=None)])[0]
    assert verdict.steps[0] > verdict.steps[1]
    assert set(verdict.agents) == {"a", "b"}
    assert learned.cut_share([planted(0)]) == 0


def test_signals_on_file_are_not_computed_again(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    first = Features((surprise.signal,), lambda: engine, "one", tmp_path).of([planted(0)])[0]
    assert len(engine.scored) == 1

    def never() -> ScriptedEngine:
        raise AssertionError("the scorer was started")

    again = Features((surprise.signal,), never, "one", tmp_path).of([replace(planted(0), label=None)])[0]
    assert again.tolist() == first.tolist()
    Features((surprise.signal,), lambda: engine, "two", tmp_path).of([planted(0)])
    assert len(engine.scored) == 2


def test_a_further_signal_leaves_what_is_on_file(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    Features((surprise.signal,), lambda: engine, "one", tmp_path).of([planted(0)])
    both = Features((surprise.signal, value.signal), lambda: engine, "one", tmp_path)
    table = both.of([planted(0)])[0]
    assert table.shape[1] == len(both.columns)
    assert {len(request.target_ids) for request in engine.scored[1]} == {len(" 7")}  # the value's alone


def test_a_scorer_that_is_stopped_loses_only_its_last_cases(tmp_path: Path) -> None:
    cases = [planted(i) for i in range(features.BATCH + 1)]

    class Stopped(ScriptedEngine):
        def score(self, requests: Sequence[ScoreRequest], progress: Progress | None = None) -> list[Score]:
            if self.scored:
                raise KeyboardInterrupt
            return super().score(requests, progress)

    stopped = Stopped()
    with pytest.raises(KeyboardInterrupt):
        Features((surprise.signal,), lambda: stopped, "one", tmp_path).of(cases)
    engine = ScriptedEngine()
    Features((surprise.signal,), lambda: engine, "one", tmp_path).of(cases)
    assert [len(asked) for asked in engine.scored] == [1]


def test_a_signal_that_cannot_be_read_says_why() -> None:
    with pytest.raises(UserError, match="ask a scorer"):
        Features((surprise.signal,)).of([planted(0)])
    needs = replace(content.signal, needs_reference=True)
    with pytest.raises(UserError, match="no reference answer"):
        Features((needs,)).of([replace(planted(0), reference=None)])


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
