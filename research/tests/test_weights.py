"""The weights of the learned localizer travel as a file, with those of folds and with what the logs are like."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from localize_logs import FOREIGN, planted, team

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.localizers.learned import Learned, StepRanker
from apportion.pipeline.localizers.signals import content, roles, turns
from apportion.pipeline.localizers.signals.base import Features
from research.weights import save, with_folds

FEW = (roles, content, turns)


def test_the_weights_travel_as_a_file(tmp_path: Path) -> None:
    learned = StepRanker(Features(FEW)).fit([planted(i) for i in range(12)])
    save(learned, tmp_path / "weights.json")
    again = StepRanker.load(tmp_path / "weights.json", Features(FEW))
    asked = [planted(30)]
    assert again.judge(asked)[0].steps.tolist() == learned.judge(asked)[0].steps.tolist()
    assert again.trained_on == learned.trained_on == frozenset(planted(i).question_id for i in range(12))


def test_weights_for_other_signals_or_another_scorer_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.json"
    save(StepRanker(Features(FEW)).fit([planted(i) for i in range(6)]), file)
    with pytest.raises(UserError, match="other signals than these"):
        StepRanker.load(file, Features(FEW[:2]))
    with pytest.raises(UserError, match="other signals than these"):
        StepRanker.load(file, Features((*FEW[:2], replace(turns, version=2))))
    record = json.loads(file.read_text()) | {"scorer": "one"}
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match="another scorer"):
        StepRanker.load(file, Features(FEW))


def test_a_weight_that_is_no_number_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.json"
    save(StepRanker(Features(FEW)).fit([planted(i) for i in range(6)]), file)
    record = json.loads(file.read_text())
    record["steps"][next(iter(record["steps"]))] = float("nan")
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match="no finite number"):
        StepRanker.load(file, Features(FEW))


def test_it_travels_with_the_weights(tmp_path) -> None:
    file, few = tmp_path / "w.json", Features((roles, content))
    corpus = [team(i) for i in range(24)]
    learned = with_folds(StepRanker(few).fit(corpus), corpus, [i % 4 for i in range(24)])
    save(learned, file)
    again = StepRanker.load(file, few)
    asked = [team(3), team(50), FOREIGN["one solver"]]  # the first question was trained on
    for one, other in zip(learned.judge(asked), again.judge(asked), strict=True):
        assert other.steps.tolist() == one.steps.tolist()
        assert other.unlikeness == pytest.approx(one.unlikeness, abs=1e-3)
    record = json.loads(file.read_text())
    record["corpus"]["edge"] = 0
    file.write_text(json.dumps(record))
    with pytest.raises(Exception, match="no weights of a learned localizer"):
        StepRanker.load(file, few)


def test_a_question_of_the_corpus_is_judged_by_weights_without_it() -> None:
    corpus = [team(i) for i in range(24)]
    few = Features((roles, content))
    learned = with_folds(StepRanker(few).fit(corpus), corpus, [i % 4 for i in range(24)])
    rest = StepRanker(few).fit([one for i, one in enumerate(corpus) if i % 4 != 3])
    assert learned.judge([team(3)])[0].steps.tolist() == rest.judge([team(3)])[0].steps.tolist()
    whole = StepRanker(few).fit(corpus)
    assert learned.judge([team(50)])[0].steps.tolist() == whole.judge([team(50)])[0].steps.tolist()
    seen = {question for fold in Learned().ranker.folds for question in fold.questions}
    assert seen == Learned().ranker.trained_on
