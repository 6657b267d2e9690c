"""What a checker of solutions gives: the first wrong step, or that no step is wrong (the task of ProcessBench).

Unlike a localizer it does not know that the run failed, so "nothing is wrong" is one of the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.localize.case import Case

Floats = NDArray[np.float64]


class Checker(Protocol):
    """Something that judges solutions after it has seen labelled ones; what needs no training ignores `fit`."""

    @property
    def name(self) -> str: ...

    def fit(self, cases: Sequence[Case]) -> Checker:
        """A copy that has learned from cases with a label or marked `sound`."""
        ...

    def judge(self, cases: Sequence[Case]) -> list[Floats]:
        """For each case a score for every step and, as the last entry, one for "no step is wrong".

        Shape (steps + 1,); the highest is the answer, so a threshold is applied by shifting the last entry.
        """
        ...


def answer_of(case: Case) -> int:
    """Place of the right answer in a verdict: the labelled step's, or the last entry for a sound case.

    Raises ValueError where nobody has labelled the case.
    """
    if case.sound:
        return len(case.steps)
    if case.label is None:
        raise ValueError(f"case {case.case_id} has no label")
    return [step.index for step in case.steps].index(case.label.step)
