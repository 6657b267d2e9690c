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

    def judge(train: Sequence[Case], held_out: Sequence[Case]) -> list[Verdict]:
        return localizer.fit(train, means).judge([unlabelled(case) for case in held_out], means)

    return by_fold(cases, folds, judge)


def judge_unseen(localizer: Localizer, labelled: Sequence[Case], cases: Sequence[Case], means: Means) -> list[Verdict]:
    """A verdict for each case, in order, by a copy that learned from `labelled` cases of other questions.

    Without labelled cases it is asked as it is. Cost: as many fits as there are folds, and one.
    """
    if not labelled:
        return localizer.judge([unlabelled(case) for case in cases], means)
    questions = [case.question_id for case in labelled]
    several = len(set(questions)) > 1
    folds = folds_by_question(labelled) if several else [0] * len(labelled)
    fold_of = dict(zip(questions, folds, strict=True))
    places: dict[int | None, list[int]] = defaultdict(list)
    for place, case in enumerate(cases):
        places[fold_of.get(case.question_id)].append(place)
    verdicts: dict[int, Verdict] = {}
    for fold, some in places.items():
        train = [case for case in labelled if fold is None or fold_of[case.question_id] != fold]
        judged = localizer.fit(train, means).judge([unlabelled(cases[place]) for place in some], means)
        verdicts.update(zip(some, judged, strict=True))
    return [verdicts[place] for place in range(len(cases))]


def by_fold(
    cases: Sequence[Case], folds: Sequence[int], judge: Callable[[Sequence[Case], Sequence[Case]], Sequence[T]]
) -> list[T]:
    """`judge(train, held out)` for every fold, put back into the order of the cases."""
    found: dict[int, T] = {}
    for fold in sorted(set(folds)):
        held_out = [i for i, one in enumerate(folds) if one == fold]
        train = [case for case, one in zip(cases, folds, strict=True) if one != fold]
        found.update(zip(held_out, judge(train, [cases[i] for i in held_out]), strict=True))
    return [found[i] for i in range(len(cases))]
