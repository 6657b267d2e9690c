import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from localize_cases import make

from apportion.pipeline.evaluation.folds import cross_validate, folds_by_question
from apportion.pipeline.evaluation.metrics import FIGURES, marks, right_answers, solutions
from apportion.pipeline.localizers.base import TEXT_ONLY, Means
from apportion.pipeline.localizers.constant_agent import ConstantAgent
from apportion.pipeline.localizers.constant_step_from_end import ConstantStepFromEnd
from apportion.pipeline.localizers.constant_step_from_start import ConstantStepFromStart
from apportion.pipeline.localizers.first_speaker import FirstSpeaker
from apportion.pipeline.localizers.last_speaker import LastSpeaker
from apportion.pipeline.localizers.most_talkative_speaker import MostTalkativeSpeaker
from apportion.pipeline.localizers.random import Random
from apportion.pipeline.localizers.ranking.ranker import best_shift
from apportion.pipeline.localizers.signals.outline import STRUCTURE
from apportion.pipeline.localizers.structure import Speakers, Structure

SOLUTIONS = Means(sound=True)


def best(verdict):
    return np.flatnonzero(verdict.steps == verdict.steps.max()).tolist()


def blamed(verdict):
    most = max(verdict.agents.values())
    return [agent for agent, score in verdict.agents.items() if score == most]


def test_guessing_gets_its_expectation():
    case = make("ABCA", 2)
    found = dict(zip(FIGURES, marks([case], Random().judge([case], TEXT_ONLY))[0], strict=True))
    assert (found["step"], found["agent"], found["±1"]) == pytest.approx((1 / 4, 1 / 3, 3 / 4))
    assert found["MRR"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_the_commonest_place_is_counted_by_kind_of_log_from_either_end():
    train = [make("ABCD", 1, source="x"), make("ABCD", 1, source="x"), make("AB", 0, source="x")]
    train += [make("ABCDEF", 3, source="y"), make("ABCDE", 2, source="y")]
    start, end = ConstantStepFromStart().fit(train, TEXT_ONLY), ConstantStepFromEnd().fit(train, TEXT_ONLY)
    asked = [make("ABCDE", source="x"), make("ABCDE", source="y"), make("ABCDE", source="new"), make("A", source="x")]
    assert [best(verdict) for verdict in start.judge(asked, TEXT_ONLY)] == [[1], [2, 3], [1], [0]]
    assert [best(verdict) for verdict in end.judge(asked, TEXT_ONLY)] == [[2], [2], [2], [0]]
    assert blamed(start.judge(asked, TEXT_ONLY)[0]) == ["B"], "who speaks there is to blame"


def test_the_commonest_agent_is_blamed_with_all_its_steps():
    train = [make("ABA", (0, "A")), make("ABA", (1, "B")), make("ABA", (0, "B"))]
    (verdict,) = ConstantAgent().fit(train, TEXT_ONLY).judge([make("ABAB")], TEXT_ONLY)
    assert blamed(verdict) == ["B"]
    assert best(verdict) == [1, 3]


@pytest.mark.parametrize(
    ("which", "agents", "steps"),
    [(FirstSpeaker, ["A"], [1]), (LastSpeaker, ["C"], [6]), (MostTalkativeSpeaker, ["B"], [2, 3, 5])],
)
def test_speakers_are_found_and_users_left_out(which, agents, steps):
    (verdict,) = which().judge([make("uABBuBCuuu")], TEXT_ONLY)
    assert (blamed(verdict), best(verdict)) == (agents, steps)


@given(st.lists(st.sampled_from("ABu"), min_size=1, max_size=12))
def test_the_outline_of_any_log_is_finite_and_as_long_as_the_log(speakers):
    columns = STRUCTURE.read(make(speakers, texts=["x" * (i % 3) for i in range(len(speakers))]))
    assert columns.shape == (len(speakers), len(STRUCTURE.columns))
    assert np.isfinite(columns).all()


def test_the_outline_by_hand():
    rows = STRUCTURE.read(make("uABA", texts=["ab", "", "abc", "a"]))
    column = dict(zip(STRUCTURE.columns, rows.T.tolist(), strict=True))
    assert column["place"] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert column["user"] == [1, 0, 0, 0]
    assert column["opens"] == [1, 1, 1, 0]
    assert column["closes"] == [1, 0, 1, 1]
    assert column["spoken"] == [0.25, 0.5, 0.25, 0.5]
    assert column["written"] == pytest.approx([2 / 6, 1 / 6, 3 / 6, 1 / 6])
    assert column["empty"] == [0, 1, 0, 0]
    assert column["longest"] == [0, 0, 1, 0]
    assert column["turn"] == pytest.approx([0, 0, 0, np.log(2)])


def test_names_count_as_a_whole_and_where_enough_logs_share_them():
    cases = [make(["Web", "Surfer"]), make(["web", "WebSurfer"]), make(["Web", "Other"])]
    speakers = Speakers.of(cases, least=2)
    assert speakers.names == ("web",)
    columns = speakers.columns(make(["WebSurfer", "WEB", "x"]))
    assert columns.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


def logs(n, rng):
    """The one who errs is "E", at its second message; the blame is its own."""
    cases = []
    for i in range(n):
        speakers = list(rng.permutation(list("ABE" * 3 + "AB")))
        at = [place for place, who in enumerate(speakers) if who == "E"][1]
        cases.append(make(speakers, at, question=f"q{i}", source="xy"[i % 2]))
    return cases


def test_the_outline_ranker_learns_who_and_when_and_judges_without_labels():
    cases = logs(60, np.random.default_rng(0))
    verdicts = cross_validate(Structure(), cases, folds_by_question(cases, 3))
    step, agent, *_ = marks(cases, verdicts).mean(0)
    assert step > 0.8, "guessing gets 1 in 11"
    assert agent == 1.0


def test_the_outline_ranker_finds_nothing_where_there_is_nothing():
    rng = np.random.default_rng(1)
    cases = [make(rng.choice(list("ABC"), 8), int(rng.integers(8)), question=f"q{i}") for i in range(80)]
    verdicts = cross_validate(Structure(), cases, folds_by_question(cases, 4))
    assert marks(cases, verdicts)[:, FIGURES.index("MRR")].mean() == pytest.approx(0.34, abs=0.09)


def test_without_labels_the_outline_ranker_holds_all_alike():
    ranker = Structure().fit([make("AB")], TEXT_ONLY)
    (verdict,) = ranker.judge([make("ABA")], TEXT_ONLY)
    assert (best(verdict), blamed(verdict)) == ([0, 1, 2], ["A", "B"])


def test_one_labelled_log_is_enough_to_judge_others():
    ranker = Structure().fit([make("ABC", 2)], TEXT_ONLY)
    (verdict,) = ranker.judge([make("ABCDE")], TEXT_ONLY)
    assert np.isfinite(verdict.steps).all()
    assert set(verdict.agents) == set("ABCDE")


def test_a_checker_learns_that_long_solutions_are_wrong_in_the_middle():
    rng = np.random.default_rng(0)
    cases = []
    for i in range(60):
        n = int(rng.integers(3, 12))
        wrong = n > 6
        cases.append(make("A" * n, n // 2 if wrong else None, sound=not wrong, question=f"q{i}"))
    sound = np.array([case.sound for case in cases])
    told = cross_validate(Structure(), cases, folds_by_question(cases, 3), SOLUTIONS)
    f1 = solutions(right_answers(cases, told), sound, 0)[0].value
    guess = solutions(right_answers(cases, Random().judge(cases, SOLUTIONS)), sound, 0)[0].value
    assert f1 > 0.6 > 2 * guess


def test_the_shift_of_none_is_where_f1_is_highest():
    scores = [np.array([0.0, -1.0]), np.array([0.0, -3.0]), np.array([2.0, 0.0])]
    right = [1, 0, 0]
    shift = best_shift(scores, right)
    assert 1 < shift < 2, "none must beat the first, but not the others"
    assert best_shift(scores, [0, 0, 0]) == 0.0
