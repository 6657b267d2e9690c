"""Is a log like those that a localizer learned from? Its own kind is, other systems are not."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from localize_logs import case

from apportion.pipeline.evaluation.worth import WORTH
from apportion.pipeline.localizers.learned import Learned
from apportion.pipeline.localizers.ranking.likeness import FEWEST, Likeness
from apportion.pipeline.localizers.ranking.step_ranker import StepRanker
from apportion.pipeline.localizers.signals import content, roles
from apportion.pipeline.localizers.signals.base import TextFeatures
from apportion.pipeline.trajectory.case import Case, Label, Step

TALK = "To solve this we need to look at the data step by step and check what we find. " * 8
CODE = TALK + "```python\nprint(1)\n```"
RAN = "exitcode: 0 (execution succeeded)\nCode output: 1 and some more of what was printed there"


def team(number: int, topic: str = "Data") -> Case:
    """A log of a team like the automatically built ones of Who&When."""
    expert, checker, terminal = f"{topic}_Expert", "Verification_Expert", "Computer_terminal"
    said = [(expert, TALK), (terminal, "There is no code"), (checker, CODE + "x" * (number % 10 * 40)), (terminal, RAN)]
    said += [(expert, CODE), (terminal, RAN), (checker, TALK), (terminal, RAN)]
    return case(*said[: 6 + number % 3], question=f"question {number}", label=Label(2, checker))


def chat(*turns: tuple[str, str]) -> Case:
    """Roles are told by the speaker's name."""
    roles_of = {"user": "user", "tool": "tool"}
    steps = tuple(Step(i, name, roles_of.get(name, "assistant"), None, text) for i, (name, text) in enumerate(turns))
    return replace(case(("a", "")), steps=steps)


FOREIGN = {
    "one agent with a user": chat(*[("assistant", "I can help."), ("user", "Thanks, and the other one?")] * 6),
    "one agent with tools": chat(*[("assistant", "<tool_call>\n{}\n</tool_call>"), ("tool", "17")] * 8),
    "one solver": chat(*[("solver", "So we have 5 + 4 = 9.")] * 6),
    "a supervisor with workers": chat(
        ("supervisor", "ask archivist"), ("archivist", "1871"), ("supervisor", "The answer is 1871.")
    ),
    "a group chat": chat(
        ("coder", CODE), ("executor", RAN), ("critic", TALK), ("coder", CODE), ("critic", "TERMINATE")
    ),
    "a company": chat(
        ("Chief Executive Officer", TALK), ("Programmer", CODE), ("Code Reviewer", TALK), ("Programmer", CODE)
    ),
    "one sentence": chat(("helper", "42")),
}


def test_a_team_of_the_same_kind_is_like_the_corpus() -> None:
    likeness = Likeness.of([team(i) for i in range(30)])
    assert likeness is not None
    inside = [likeness.unlikeness(team(i, topic)) for i, topic in ((40, "Data"), (44, "Chess"))]
    assert inside[0] <= 1
    assert inside[0] < inside[1] < min(likeness.unlikeness(one) for one in FOREIGN.values())


@pytest.mark.parametrize("name", FOREIGN)
def test_the_shipped_localizer_does_not_speak_of_other_systems(name: str) -> None:
    learned = Learned().ranker
    assert not learned.speaks_of(FOREIGN[name])
    far = learned.judge([FOREIGN[name]])[0].unlikeness
    assert far is not None
    assert far > 1


def test_the_shipped_localizer_speaks_of_its_own_kind_whatever_the_topic() -> None:
    assert [Learned().ranker.speaks_of(team(40 + i, topic)) for i, topic in enumerate(("Data", "Chess", "Poetry"))] == [
        True
    ] * 3


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


def test_it_travels_with_the_weights(tmp_path) -> None:
    file, few = tmp_path / "w.json", TextFeatures((roles.signal, content.signal))
    corpus = [team(i) for i in range(24)]
    learned = StepRanker(few).fit(corpus).with_folds(corpus, [i % 4 for i in range(24)])
    learned.save(file)
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
    few = TextFeatures((roles.signal, content.signal))
    learned = StepRanker(few).fit(corpus).with_folds(corpus, [i % 4 for i in range(24)])
    rest = StepRanker(few).fit([one for i, one in enumerate(corpus) if i % 4 != 3])
    assert learned.judge([team(3)])[0].steps.tolist() == rest.judge([team(3)])[0].steps.tolist()
    whole = StepRanker(few).fit(corpus)
    assert learned.judge([team(50)])[0].steps.tolist() == whole.judge([team(50)])[0].steps.tolist()
    seen = {question for fold in Learned().ranker.folds for question in fold.questions}
    assert seen == Learned().ranker.trained_on


def test_what_a_localizer_is_worth_names_its_target_and_what_guessing_gets() -> None:
    for told in WORTH.values():
        assert "step" in told
        assert "guessing gets" in told
