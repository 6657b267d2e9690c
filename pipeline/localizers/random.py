"""The floor of floors: every step and every agent alike."""

from __future__ import annotations

from collections.abc import Sequence

from apportion.pipeline.localizers.base import Localizer, Means, Verdict, alike
from apportion.pipeline.trajectory.case import Case


class Random(Localizer):
    """Every step and every agent alike, and for solutions "no step is wrong" as well: the expectation of guessing.

    In a run's failures one of the steps that may be blamed is drawn by lot: the arm that other localizers are compared
    with. Its alternatives prove something and make no preference pairs. Status: ours. Cost: none.
    """

    def judge(self, cases: Sequence[Case], means: Means) -> list[Verdict]:
        return [alike(case, means) for case in cases]
