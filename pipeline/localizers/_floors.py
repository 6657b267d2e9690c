"""What the floors share: localizers that read no word, and that any other has to beat.

A verdict that does not tell options apart gives them equal scores, and the metrics count ties in expectation: so
`random` gets exactly what guessing gets on average, without a draw. Names of agents count as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import PrivateAttr

from apportion.pipeline.localizers.base import UNTRAINED, Localizer, Means, Verdict, by_step, fitted
from apportion.pipeline.trajectory.case import Case, labelled_place

Counts = Mapping[str, Counter[Hashable]]
_LITTLE = 1e-6


class Counted(Localizer):
    """Names what was labelled most often in training logs of the same kind (`Case.source`).

    What else there is follows by its count; counts over all kinds of log break ties and serve a kind that training did
    not have.
    """

    learns: ClassVar[bool] = True
    _counts: Counts = PrivateAttr(default_factory=dict)

    def _tally(self, cases: Sequence[Case], what: Callable[[Case], Hashable | None]) -> Self:
        counts: dict[str, Counter[Hashable]] = {}
        for case in cases:
            if (labelled := what(case)) is not None:
                counts.setdefault(case.source, Counter())[labelled] += 1
        return fitted(self, _counts=counts)

    def _scores(self, case: Case, options: Sequence[Hashable]) -> list[float]:
        total: Counter[Hashable] = sum(self._counts.values(), Counter())
        own = self._counts.get(case.source, Counter())
        return [own[option] + _LITTLE * total[option] for option in options]

    @property
    def _reason(self) -> str | None:
        return None if self._counts else UNTRAINED


class ConstantStep(Counted):
    """The place that was labelled most often, counted from one end of the log. To blame is who speaks there."""

    from_end: ClassVar[bool]

    def fit(self, cases: Sequence[Case], means: Means) -> Self:
        return self._tally(cases, self._labelled)

    def judge(self, cases: Sequence[Case], means: Means) -> list[Verdict]:
        scores = [np.array(self._scores(case, self._places(case)), dtype=float) for case in cases]
        return [by_step(case, row, reason=self._reason) for case, row in zip(cases, scores, strict=True)]

    def _places(self, case: Case) -> list[int]:
        places = list(range(len(case.steps)))
        return places[::-1] if self.from_end else places

    def _labelled(self, case: Case) -> int | None:
        place = labelled_place(case)
        return None if place is None else self._places(case)[place]


class Speaker(Localizer):
    """Steps by their place alone, users' left out."""

    sign: ClassVar[int]
    """1: the later, the likelier; -1: the earlier."""

    def judge(self, cases: Sequence[Case], means: Means) -> list[Verdict]:
        users = [np.array([step.role == "user" for step in case.steps], dtype=bool) for case in cases]
        scores = [np.where(user, -np.inf, self.sign * np.arange(len(user))) for user in users]
        return [by_step(case, row) for case, row in zip(cases, scores, strict=True)]


def by_agent(case: Case, scores: Sequence[float], reason: str | None = None) -> Verdict:
    """Blame for each step what its speaker has. `scores`: in the order of `case.agents`."""
    agents = dict(zip(case.agents, scores, strict=True))
    return Verdict(np.array([agents[step.agent] for step in case.steps], dtype=float), agents, reason=reason)
