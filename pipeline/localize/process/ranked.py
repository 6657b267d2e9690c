"""A ranker over the steps of a solution and the option that none is wrong, from any choice of process scores.

Options are the steps, each with its own columns, and one more, "none", with the largest value and the mean of every
column over the steps, a constant and log(1 + steps): that none is wrong is likelier where no step looks wrong. With
`states` a logistic head over them is fitted too (`trained`), and its score is one more family; the ranker learns from
scores that the head gives to cases it was fitted without.

Status: ours (see `pipeline.localize.ranker`). Degenerate: without labelled cases all options are alike; fitted without
sound cases it hardly ever says "none".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.localize import choice
from pipeline.localize.base import Verdict
from pipeline.localize.case import Case
from pipeline.localize.choice import FOLDS, Choice
from pipeline.localize.folds import folds_by_question
from pipeline.localize.metrics import option_of
from pipeline.localize.outline import best_shift
from pipeline.localize.process import trained
from pipeline.localize.process.trained import Head

Floats = NDArray[np.float64]
Measure = Callable[[Sequence[Case]], dict[str, Floats]]
"""Columns of each case by case_id, shape (steps, columns), the same columns in every case."""


@dataclass
class Signals:
    """A measure that looks at each case once."""

    measure: Measure
    known: dict[str, Floats] = field(default_factory=dict)

    def of(self, cases: Sequence[Case]) -> list[Floats]:
        """One array a case, in order."""
        fresh = {case.case_id: case for case in cases if case.case_id not in self.known}
        if fresh:
            self.known |= self.measure(list(fresh.values()))
        return [self.known[case.case_id] for case in cases]


@dataclass(frozen=True)
class ProcessChecker:
    """Process scores made into verdicts; `planted` are cases that only the head learns from."""

    name: str
    signals: tuple[Signals, ...]
    states: Signals | None = None
    planted: tuple[Case, ...] = ()
    slow: bool = False
    head: Head | None = None
    options: Choice | None = None
    shift: float = 0.0

    def fit(self, cases: Sequence[Case]) -> ProcessChecker:
        """Fit head and ranker on solutions with a label or marked sound, then the shift of "none" for F1."""
        known = [case for case in cases if case.sound or case.label is not None]
        if not known:
            return replace(self, head=None, options=None, shift=0.0)
        head, scores = self._headed(known)
        x = [_options(steps) for steps in self._columns(known, scores)]
        right = [option_of(case) for case in known]
        options, unseen = choice.fit(known, x, right)
        return replace(self, head=head, options=options, shift=best_shift(unseen, right))

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """Log-probabilities of the steps and of none."""
        if self.options is None:
            return [Verdict(np.zeros(len(one.steps)), dict.fromkeys(one.agents, 0.0), 0.0) for one in cases]
        scores = None
        if self.states is not None and self.head is not None:
            scores = [self.head.score(states) for states in self.states.of(cases)]
        verdicts = []
        for case, steps in zip(cases, self._columns(cases, scores), strict=True):
            log_p = self.options.log_p(case, _options(steps))
            agents = dict.fromkeys(case.agents, 0.0)
            for step, value in zip(case.steps, log_p[:-1], strict=True):
                agents[step.agent] += float(np.exp(value))
            verdicts.append(Verdict(log_p[:-1], agents, float(log_p[-1]) + self.shift))
        return verdicts

    def _headed(self, known: Sequence[Case]) -> tuple[Head | None, list[Floats] | None]:
        """The head, and for each case the scores of a head that was fitted without it."""
        if self.states is None:
            return None, None
        every = [*known, *self.planted]
        states = {case.case_id: x for case, x in zip(every, self.states.of(every), strict=True)}
        head = trained.fit(every, states)
        if len({case.question_id for case in known}) < 2:
            return head, [head.score(states[case.case_id]) for case in known]
        folds = folds_by_question(known, FOLDS, seed=1)
        parts = {
            one: trained.fit([*(c for c, at in zip(known, folds, strict=True) if at != one), *self.planted], states)
            for one in set(folds)
        }
        return head, [parts[at].score(states[case.case_id]) for at, case in zip(folds, known, strict=True)]

    def _columns(self, cases: Sequence[Case], scores: Sequence[Floats] | None) -> list[Floats]:
        parts = [one.of(cases) for one in self.signals]
        if scores is not None:
            parts.append([trained.columns(score) for score in scores])
        return [np.concatenate(some, axis=1) for some in zip(*parts, strict=True)]


def _options(steps: Floats) -> Floats:
    n, columns = steps.shape
    x = np.zeros((n + 1, 3 * columns + 2))
    x[:-1, :columns] = steps
    if n:
        x[-1, columns:-2] = np.concatenate([steps.max(0), steps.mean(0)])
    x[-1, -2:] = [1.0, np.log1p(n)]
    return x
