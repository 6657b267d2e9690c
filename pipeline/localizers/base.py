"""What every localizer gives: a score for each step and each agent of a case."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.trajectory.case import Case

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """Scores, higher is likelier; only their order counts. The two need not agree: each is predicted on its own terms.

    `steps`: one a step of the case, in order. `agents`: by whole name. `none`: that no step is wrong, on the scale of
    `steps`; minus infinity where a step is always named. `unlikeness`: how far the log is from those that the localizer
    learned from, 1 at the edge of these; above it the verdict is worth nothing that was measured. None: not known.
    """

    steps: Floats
    agents: Mapping[str, float]
    none: float = -math.inf
    unlikeness: float | None = None

    @property
    def first_wrong(self) -> int | None:
        """Place of the step that is named, the earliest of equals; None where no step is."""
        if not len(self.steps) or self.none >= self.steps.max():
            return None
        return int(self.steps.argmax())


class Localizer(Protocol):
    """Something that judges cases after it has seen labelled ones; what needs no training ignores `fit`."""

    @property
    def name(self) -> str: ...

    def fit(self, cases: Sequence[Case]) -> Localizer:
        """A copy that has learned from labelled cases."""
        ...

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """One verdict a case, in order."""
        ...
