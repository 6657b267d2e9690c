"""A ranker over the steps of a solution and the option that none is wrong, from any choice of process scores.

Options are the steps, each with its own columns, and one more, "none", with the largest value and the mean of every
column over the steps, a constant and log(1 + steps): that none is wrong is likelier where no step looks wrong.

Status: ours (see `localizers.ranking`). Degenerate: without labelled cases all options are alike; fitted without
sound cases it hardly ever says "none".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import PrivateAttr

from apportion.pipeline.core.ids import digest
from apportion.pipeline.localizers.base import Localizer, Means, Verdict, alike, fitted
from apportion.pipeline.localizers.ranking.ranker import Chosen, best_shift, fit_chosen
from apportion.pipeline.trajectory.case import Case, option_of

Floats = NDArray[np.float64]
Measure = Callable[[Sequence[Case]], dict[str, Floats]]
"""Columns of each case by case_id, shape (steps, columns), the same columns in every case."""


@dataclass
class Signals:
    """A measure that looks at each solution once.

    `keep` tells of an .npz file in which the numbers are kept as they come, by a digest of the solution's text; its
    name should change with whatever changes them.
    """

    measure: Measure
    keep: Callable[[], Path] | None = None
    chunk: int = 32
    """Solutions that are measured between two writes of the file."""
    known: dict[str, Floats] = field(default_factory=dict)

    def of(self, cases: Sequence[Case]) -> list[Floats]:
        """One array a case, in order."""
        keys = [_key(case) for case in cases]
        if self.keep is not None and not self.known:
            self.known |= _kept(self.keep())
        fresh = [(key, case) for key, case in dict(zip(keys, cases, strict=True)).items() if key not in self.known]
        size = len(fresh) if self.keep is None else self.chunk
        for start in range(0, len(fresh), max(1, size)):
            some = fresh[start : start + size]
            measured = self.measure([case for _, case in some])
            self.known |= {key: measured[case.case_id] for key, case in some}
            if self.keep is not None:
                _write(self.keep(), self.known)
        return [self.known[key] for key in keys]


class ProcessChecker(Localizer):
    """Process scores made into verdicts. A subclass says which: `sources` at its first need."""

    learns: ClassVar[bool] = True
    _signals: tuple[Signals, ...] | None = PrivateAttr(default=None)
    _options: Chosen | None = PrivateAttr(default=None)
    _shift: float = PrivateAttr(default=0.0)

    def signals(self, means: Means) -> tuple[Signals, ...]:
        """What is measured of each solution."""
        assert self._signals is not None
        return self._signals

    def fit(self, cases: Sequence[Case], means: Means) -> Self:
        """Fit the ranker on solutions with a label or marked sound, then the shift of "none" for F1."""
        known = [case for case in cases if case.sound or case.label is not None]
        if not known:
            return fitted(self, _options=None, _shift=0.0)
        right = [option_of(case) for case in known]
        options, unseen = fit_chosen(known, [_options(steps) for steps in self._columns(known, means)], right)
        return fitted(self, _options=options, _shift=best_shift(unseen, right))

    def judge(self, cases: Sequence[Case], means: Means) -> list[Verdict]:
        """Log-probabilities of the steps and of none."""
        if self._options is None:
            return [alike(case, replace(means, sound=True)) for case in cases]
        verdicts = []
        for case, steps in zip(cases, self._columns(cases, means), strict=True):
            log_p = self._options.log_p(case, _options(steps))
            agents = dict.fromkeys(case.agents, 0.0)
            for step, value in zip(case.steps, log_p[:-1], strict=True):
                agents[step.agent] += float(np.exp(value))
            verdicts.append(Verdict(log_p[:-1], agents, float(log_p[-1]) + self._shift))
        return verdicts

    def _columns(self, cases: Sequence[Case], means: Means) -> list[Floats]:
        parts = zip(*(one.of(cases) for one in self.signals(means)), strict=True)
        return [np.concatenate(some, axis=1) for some in parts]


def checker(*signals: Signals) -> ProcessChecker:
    """Over these signals."""
    return fitted(ProcessChecker(), _signals=signals)


def _options(steps: Floats) -> Floats:
    n, columns = steps.shape
    x = np.zeros((n + 1, 3 * columns + 2))
    x[:-1, :columns] = steps
    if n:
        x[-1, columns:-2] = np.concatenate([steps.max(0), steps.mean(0)])
    x[-1, -2:] = [1.0, np.log1p(n)]
    return x


def _key(case: Case) -> str:
    return digest([case.question, [step.text for step in case.steps]])


def _kept(file: Path) -> dict[str, Floats]:
    if not file.exists():
        return {}
    with np.load(file, allow_pickle=False) as found:
        return {key: found[key] for key in found.files}


def _write(file: Path, known: Mapping[str, Floats]) -> None:
    """All of it anew, by one rename."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with fresh.open("wb") as out:
        np.savez(out, **known)  # type: ignore[arg-type]
    os.replace(fresh, file)
