"""Is a log like those that a localizer learned from? Its own kind is, other systems are not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from localize_logs import FOREIGN, chat, team

from apportion.pipeline.evaluation.worth import WORTH
from apportion.pipeline.localizers.base import TEXT_ONLY
from apportion.pipeline.localizers.learned import Learned
from apportion.pipeline.localizers.ranking.likeness import FEWEST, Likeness
from apportion.pipeline.repair.located import unlike


def test_a_team_of_the_same_kind_is_like_the_corpus() -> None:
    likeness = Likeness.of([team(i) for i in range(30)])
    assert likeness is not None
    inside = [likeness.unlikeness(team(i, topic)) for i, topic in ((40, "Data"), (44, "Chess"))]
    assert inside[0] <= 1
    assert inside[0] < inside[1] < min(likeness.unlikeness(one) for one in FOREIGN.values())


@pytest.mark.parametrize("name", FOREIGN)
def test_the_shipped_localizer_does_not_speak_of_other_systems(name: str) -> None:
    learned = Learned().ranker
    far = learned.judge([FOREIGN[name]])[0].unlikeness
    assert far is not None
    assert far > 1


def test_the_shipped_localizer_speaks_of_its_own_kind_whatever_the_topic() -> None:
    logs = [team(40 + i, topic) for i, topic in enumerate(("Data", "Chess", "Poetry"))]
    assert [not unlike(verdict) for verdict in Learned().judge(logs, TEXT_ONLY)] == [True] * 3


def test_a_log_is_held_against_logs_of_other_questions() -> None:
    odd = replace(FOREIGN["one solver"], question="question odd")
    likeness = Likeness.of([*(team(i) for i in range(30)), odd])
    assert likeness is not None
    assert likeness.unlikeness(odd) > 1


def test_a_tenth_of_the_corpus_lies_beyond_its_edge() -> None:
    corpus = [team(i, f"Topic{i % 7}") for i in range(40)]
    likeness = Likeness.of(corpus)
    assert likeness is not None
    assert sum(likeness.unlikeness(one) > 1 for one in corpus) <= 0.15 * len(corpus)


def test_few_logs_give_no_measure_and_people_alone_are_infinitely_far() -> None:
    assert Likeness.of([team(i) for i in range(FEWEST - 1)]) is None
    likeness = Likeness.of([team(i) for i in range(FEWEST)])
    assert likeness is not None
    assert likeness.unlikeness(chat(("user", "Hello?"))) == math.inf


def test_what_a_localizer_is_worth_names_its_target_and_what_guessing_gets() -> None:
    for told in WORTH.values():
        assert "step" in told
        assert "guessing gets" in told
