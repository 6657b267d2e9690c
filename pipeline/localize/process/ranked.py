"""A ranker over the steps of a solution and the option that none is wrong.

Options are the steps, each with its own columns, and one more, "none", with the columns' largest value and mean over
the steps beside a constant: no wrong step is likelier where no step looks wrong.

Status: ours (see `pipeline.localize.ranker`). Degenerate: fitted without sound cases it names a step always.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.localize.base import Verdict
from pipeline.localize.case import Case
from pipeline.localize.process.trained import first_wrong
from pipeline.localize.ranker import Options, Ranker, fit

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RankedProcess:
    """`signals` by case: (steps, columns), the same columns in every case.

    `shift` moves the option "none" against the steps: fitted so that training cases with and without a wrong step are
    got right about equally often, which is what the harmonic mean of the two (ProcessBench's F1) asks for.
    """

    signals: Mapping[str, Floats]
    name: str = "ranked"
    l2: float = 3.0
    weights: Ranker | None = None
    shift: float = 0.0

    def fit(self, cases: Sequence[Case]) -> RankedProcess:
        """Learn from cases with a label, and from sound ones."""
        known = [case for case in cases if case.sound or case.label is not None]
        fitted = replace(self, weights=fit([Options(self._x(case), _chosen(case)) for case in known], self.l2))
        return replace(fitted, shift=_best_shift(known, fitted.judge(known)))

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """Log-probabilities of the steps and of none."""
        if self.weights is None:
            raise UserError(f"the process score {self.name!r} has no weights: fit it on labelled cases first")
        verdicts = []
        for case in cases:
            log_p = self.weights.log_p(self._x(case))
            agents = dict.fromkeys(case.agents, 0.0)
            for step, value in zip(case.steps, log_p[:-1], strict=True):
                agents[step.agent] += float(np.exp(value))
            verdicts.append(Verdict(log_p[:-1], agents, float(log_p[-1]) + self.shift))
        return verdicts

    def _x(self, case: Case) -> Floats:
        steps = self.signals[case.case_id]
        n, columns = steps.shape
        none = np.concatenate([np.zeros(columns), steps.max(0), steps.mean(0), [1.0, np.log1p(n)]])
        rows = np.concatenate([steps, np.zeros((n, 2 * columns + 2))], axis=1)
        return np.concatenate([rows, none[None]])


def _chosen(case: Case) -> int | None:
    return len(case.steps) if case.sound else first_wrong(case)


def _best_shift(cases: Sequence[Case], verdicts: Sequence[Verdict]) -> float:
    """The shift of "none" with the best F1 on these cases; the smallest of equals in size."""
    gaps = np.array([verdict.steps.max() - verdict.none for verdict in verdicts])
    right = np.array([int(v.steps.argmax()) == first_wrong(case) for case, v in zip(cases, verdicts, strict=True)])
    sound = np.array([case.sound for case in cases])
    if not sound.any() or sound.all():
        return 0.0
    best, found = -1.0, 0.0
    for shift in sorted([0.0, *(gaps + 1e-9), *(gaps - 1e-9)], key=abs):
        none = gaps <= shift
        hit, clear = (right & ~none)[~sound].mean(), none[sound].mean()
        f1 = 2 * hit * clear / (hit + clear) if hit + clear else 0.0
        if f1 > best + 1e-12:
            best, found = float(f1), float(shift)
    return found
