"""Folds by question: what is asked in two kinds of log is never on both sides.

Questions that occur in the same kinds of log are dealt out in the order of a hash, so every fold holds its share of
each kind, and a case's fold does not depend on the order of the cases. Status: ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest
from apportion.pipeline.localizers.base import TEXT_ONLY, Localizer, Means, Verdict
from apportion.pipeline.trajectory.case import Case

T = TypeVar("T")
R = TypeVar("R")


def folds_by_question(cases: Sequence[Case], k: int = 10, seed: int = 0) -> list[int]:
    """The fold of each case, in 0 to k - 1. Fewer questions than k leave folds empty.

    Raises UserError for k < 2 or a single question, where nothing can be held out.
    """
    kinds: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        kinds[case.question_id].add(case.source)
    if k < 2 or len(kinds) < 2:
        raise UserError(
            f"--cross-validate {k} on logs of {len(kinds)} questions: it takes at least 2 folds and 2 questions"
        )
    order = sorted(kinds, key=lambda question: (sorted(kinds[question]), digest([seed, question])))
    fold = {question: place % k for place, question in enumerate(order)}
    return [fold[case.question_id] for case in cases]


def unlabelled(case: Case) -> Case:
    """The case as somebody sees it who is to judge it."""
    return replace(case, label=None, sound=False)


def cross_validate(
    localizer: Localizer, cases: Sequence[Case], folds: Sequence[int], means: Means = TEXT_ONLY
) -> list[Verdict]:
    """A verdict for each case, in order, by a copy of `localizer` that was fitted without its fold.

    What is judged carries no label. Cost: as many fits as there are folds.
    """
    return _held_out(localizer, cases, folds, cases, folds, means)


def judge_unseen(localizer: Localizer, labelled: Sequence[Case], cases: Sequence[Case], means: Means) -> list[Verdict]:
    """A verdict for each case, in order, by a copy that learned from `labelled` cases of other questions.

    Without labelled cases it is asked as it is. Cost: as many fits as there are folds, and one.
    """
    questions = [case.question_id for case in labelled]
    folds = folds_by_question(labelled) if len(set(questions)) > 1 else [0] * len(labelled)
    fold_of = dict(zip(questions, folds, strict=True))
    return _held_out(localizer, labelled, folds, cases, [fold_of.get(case.question_id, -1) for case in cases], means)


def _held_out(
    localizer: Localizer, labelled: Sequence[Case], folds: Sequence[int],
    cases: Sequence[Case], folds_of_cases: Sequence[int], means: Means,
) -> list[Verdict]:  # fmt: skip
    def judge(fold: int, held_out: Sequence[Case]) -> list[Verdict]:
        train = [case for case, other in zip(labelled, folds, strict=True) if other != fold]
        fitted = localizer.fit(train, means) if labelled else localizer
        return fitted.judge([unlabelled(case) for case in held_out], means)

    return _put_back(cases, folds_of_cases, judge)


def by_fold(
    items: Sequence[T], folds: Sequence[int], judge: Callable[[Sequence[T], Sequence[T]], Sequence[R]]
) -> list[R]:
    """`judge(train, held out)` for every fold, put back into the order of the items."""

    def judge_fold(fold: int, held_out: Sequence[T]) -> Sequence[R]:
        return judge([item for item, other in zip(items, folds, strict=True) if other != fold], held_out)

    return _put_back(items, folds, judge_fold)


def _put_back(items: Sequence[T], folds: Sequence[int], judge: Callable[[int, Sequence[T]], Sequence[R]]) -> list[R]:
    judged: dict[int, R] = {}
    for fold in sorted(set(folds)):
        places = [place for place, other in enumerate(folds) if other == fold]
        judged.update(zip(places, judge(fold, [items[place] for place in places]), strict=True))
    return [judged[place] for place in range(len(items))]
