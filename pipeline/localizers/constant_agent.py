"""A floor: the name that was blamed most often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from apportion.pipeline.localizers._floors import Counted, by_agent
from apportion.pipeline.localizers.base import Means, Verdict
from apportion.pipeline.trajectory.case import Case


class ConstantAgent(Counted):
    """The name that was blamed most often in training logs of the same kind; all its steps alike.

    Status: ours. Degenerate: without labelled logs it names nothing. Cost: counting.
    """

    title = "constant agent"

    def fit(self, cases: Sequence[Case], means: Means) -> Self:
        return self._tally(cases, lambda case: case.label.agent if case.label else None)

    def judge(self, cases: Sequence[Case], means: Means) -> list[Verdict]:
        return [by_agent(case, self._scores(case, case.agents), self._reason) for case in cases]
