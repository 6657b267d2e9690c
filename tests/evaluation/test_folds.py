from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from localize_cases import make

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.evaluation.folds import cross_validate, folds_by_question, judge_unseen
from apportion.pipeline.localizers.base import TEXT_ONLY


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("xy")), min_size=2, max_size=60),
    st.integers(2, 12),
    st.integers(0, 5),
)
def test_no_question_is_in_two_folds(asked, k, seed):
    cases = [make("AB", 0, question=f"Who is {q}?" if s == "x" else f" who IS  {q}?", source=s) for q, s in asked]
    if len({q for q, _ in asked}) < 2:
        return
    folds = folds_by_question(cases, k, seed)
    assert all(0 <= fold < k for fold in folds)
    by_question = {(q, fold) for (q, _), fold in zip(asked, folds, strict=True)}
    assert len(by_question) == len({q for q, _ in asked})


def test_each_kind_of_log_is_spread_over_the_folds_whatever_their_order():
    cases = [make("A", 0, question=f"q{i}", source="x" if i < 20 else "y") for i in range(30)]
    folds = folds_by_question(cases, 5, 1)
    for source, each in (("x", 4), ("y", 2)):
        spread = Counter(fold for fold, case in zip(folds, cases, strict=True) if case.source == source)
        assert set(spread.values()) == {each}
    assert folds_by_question(cases[::-1], 5, 1) == folds[::-1]
    assert folds_by_question(cases, 5, 2) != folds


def test_one_question_cannot_be_held_out():
    cases = [make("A", 0), make("A", 0, source="t")]
    with pytest.raises(UserError, match="logs of 1 questions"):
        folds_by_question(cases, 5)
    with pytest.raises(UserError, match="at least 2 folds"):
        folds_by_question([make("A", 0), make("A", 0, question="r")], 1)


class Memory:
    """Says of each case which questions it was trained on, and whether it was shown a label."""

    def __init__(self, seen=()):
        self.seen = set(seen)

    def fit(self, cases, means):
        assert all(case.label for case in cases)
        return Memory(case.question for case in cases)

    def judge(self, cases, means):
        return [(case.question, self.seen, case.label, case.sound) for case in cases]


def test_a_case_is_judged_without_its_label_by_what_saw_every_other_fold():
    cases = [make("A", 0, question=f"q{i % 7}", source=f"s{i % 2}") for i in range(14)]
    folds = folds_by_question(cases, 3)
    for case, fold, told in zip(cases, folds, cross_validate(Memory(), cases, folds), strict=True):
        question, seen, label, sound = told
        assert (question, label, sound) == (case.question, None, False)
        assert seen == {one.question for one, other in zip(cases, folds, strict=True) if other != fold}
    assert len(np.unique(folds)) == 3


def test_a_case_is_never_judged_by_what_learned_from_its_question():
    labelled = [make("A", 0, question=f"q{i}") for i in range(6)]
    others = [make("A", question=f"new {i}") for i in range(2)]
    cases = [*labelled, *others]
    for case, (question, seen, label, _) in zip(cases, judge_unseen(Memory(), labelled, cases, TEXT_ONLY), strict=True):
        assert (question, label) == (case.question, None)
        assert case.question not in seen
        assert len(seen) == (6 if case in others else 5)
    (alone,) = judge_unseen(Memory(), labelled[:1], labelled[:1], TEXT_ONLY)
    assert alone[1] == set()
