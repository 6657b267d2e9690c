"""How well verdicts meet the labels: accuracies, ranks, F1 on solutions, and bootstrap intervals over cases.

Ties are met in expectation: where several steps (or agents) share the best score, the figure of a case is its mean over
a random choice among them, and its reciprocal rank the mean of 1 / rank over the tied ranks. So a localizer that says
nothing gets exactly what guessing gets on average. A score that is not a number counts as the lowest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.localizers.base import Floats, Verdict
from apportion.pipeline.trajectory.case import Case, option_of

FIGURES = ("step", "agent", "±1", "±3", "±5", "MRR")
"""Columns of `marks`: share of cases with the labelled step, the labelled agent, a step near it, and mean reciprocal
rank of the labelled step."""

DRAWS = 4000
"""Bootstrap samples: the ends of a 95 % interval then wander by less than a tenth of its width."""

BUCKETS = ((10, "up to 10"), (30, "11 to 30"), (60, "31 to 60"))
_CHUNK = 2**22


@dataclass(frozen=True)
class Estimate:
    """A mean over cases with its 95 % interval; all NaN without cases."""

    value: float
    low: float
    high: float


def marks(cases: Sequence[Case], verdicts: Sequence[Verdict]) -> Floats:
    """The figures of every case, shape (cases, len(FIGURES)), each in [0, 1].

    * step: the best-scored step's index is the label's, as integers (strict: no tolerance, no shift);
    * agent: the best-scored agent's whole name is the label's, letter by letter;
    * ±k: the best-scored step's index is at most k from the label's;
    * MRR: 1 / rank of the labelled step.

    A label that names no step, or nobody who was scored, counts 0. Raises ValueError for a case without a label.
    """
    rows = [_marks(case, verdict) for case, verdict in zip(cases, verdicts, strict=True)]
    return np.array(rows, dtype=float).reshape(len(rows), len(FIGURES))


def _marks(case: Case, verdict: Verdict) -> list[float]:
    if case.label is None:
        raise ValueError(f"case {case.case_id} has no label")
    scores = _clean(verdict.steps)
    away = np.abs(np.array([step.index for step in case.steps], dtype=float) - case.label.step)
    best = scores == scores.max(initial=-np.inf)
    step, *near = (float((away[best] <= k).mean()) if best.any() else 0.0 for k in (0, 1, 3, 5))
    blame = _clean(np.array(list(verdict.agents.values()), dtype=float))
    blamed = blame == blame.max(initial=-np.inf)
    agents = np.array([name == case.label.agent for name in verdict.agents], dtype=bool)
    agent = float(agents[blamed].mean()) if blamed.any() else 0.0
    return [step, agent, *near, reciprocal_rank(scores, np.flatnonzero(away == 0))]


def reciprocal_rank(scores: Floats, places: NDArray[np.int64]) -> float:
    """1 / rank (from 1, the highest first) of the entry at `places`, in expectation over ties; 0 without a place."""
    if not len(places):
        return 0.0
    mine = scores[places[0]]
    above, tied = int((scores > mine).sum()), int((scores == mine).sum())
    return float((1 / np.arange(above + 1, above + tied + 1)).mean())


def right_answers(cases: Sequence[Case], verdicts: Sequence[Verdict]) -> Floats:
    """For solutions: is the best-scored step the first wrong one, or `none` above all where the case is sound?

    Shape (cases,), ties in expectation. Raises ValueError for a case that nobody has labelled.
    """
    right = []
    for case, verdict in zip(cases, verdicts, strict=True):
        scores = _clean(np.append(verdict.steps, verdict.none))
        best = scores == scores.max()
        right.append(float(best[option_of(case)] / best.sum()))
    return np.array(right, dtype=float)


def _clean(scores: Floats) -> Floats:
    known = np.asarray(scores, dtype=np.float64)
    return np.where(np.isnan(known), -np.inf, known)


def resampled(values: Floats, seed: int) -> Floats:
    """Column sums of `DRAWS` bootstrap samples of the rows of `values`: shape (DRAWS, columns)."""
    n = len(values)
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // n)
    sizes = [min(step, DRAWS - start) for start in range(0, DRAWS, step)]
    return np.concatenate([rng.multinomial(n, np.full(n, 1 / n), size=size) @ values for size in sizes])


def means(values: Floats, seed: int) -> list[Estimate]:
    """The mean of every column of `values` (cases, columns) with a percentile bootstrap interval over cases.

    The same seed and number of cases give the same draws, so that two calls are paired. One case: an interval of no
    width, which says nothing. Cost: DRAWS x cases x columns.
    """
    n, columns = values.shape
    if not n:
        return [Estimate(np.nan, np.nan, np.nan)] * columns
    return _estimates(values.mean(0), resampled(values, seed) / n)


def _estimates(values: Sequence[float] | Floats, draws: Floats) -> list[Estimate]:
    """`values` with the intervals of `draws`, shape (draws, values)."""
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return [Estimate(*map(float, ends)) for ends in zip(values, low, high, strict=True)]


def paired(first: Floats, second: Floats, seed: int) -> Estimate:
    """Mean of first - second over the same cases (each of shape (cases,)), with its bootstrap interval."""
    return means((first - second)[:, None], seed)[0]


def paired_f1(first: Floats, second: Floats, sound: NDArray[np.bool_], seed: int) -> Estimate:
    """F1 of the first less F1 of the second on the same solutions, with its bootstrap interval."""
    if sound.all() or not sound.any():
        return Estimate(np.nan, np.nan, np.nan)
    mine, other = (float(harmonic(right[~sound].mean(), right[sound].mean())) for right in (first, second))
    draws = _f1(first, sound, seed)[:, :1] - _f1(second, sound, seed)[:, :1]
    return _estimates([mine - other], draws)[0]


def harmonic(a: Floats, b: Floats) -> Floats:
    """2ab / (a + b), 0 where both are 0."""
    total = a + b
    return np.where(total > 0, 2 * a * b / np.where(total > 0, total, 1.0), 0.0)


def solutions(right: Floats, sound: NDArray[np.bool_], seed: int) -> list[Estimate]:
    """ProcessBench's figures: F1, accuracy on wrong solutions (the very step), accuracy on correct ones.

    F1 is the harmonic mean of the two accuracies (arXiv 2412.06559): always to say "none" gives 0, as does always to
    name a step. `right` from `right_answers`. Draws without one of the kinds are left out; NaN where a kind is missing.
    """
    parts = np.array([right[mask].mean() if mask.any() else np.nan for mask in (~sound, sound)])
    if sound.all() or not sound.any():
        return [Estimate(float(one), np.nan, np.nan) for one in (np.nan, *parts)]
    return _estimates([float(harmonic(*parts)), *parts], _f1(right, sound, seed))


def _f1(right: Floats, sound: NDArray[np.bool_], seed: int) -> Floats:
    """F1 and the two accuracies of every bootstrap sample that holds both kinds, shape (samples, 3)."""
    kinds = np.stack([~sound, sound], axis=1).astype(float)
    totals = resampled(np.hstack([kinds, kinds * right[:, None]]), seed)
    totals = totals[(totals[:, :2] > 0).all(1)]
    shares = totals[:, 2:] / totals[:, :2]
    return np.column_stack([harmonic(shares[:, 0], shares[:, 1]), shares])


def best_mixture(places: Sequence[int]) -> tuple[float, float, int]:
    """The highest F1 without looking: say "none" with probability q, else always the same step s.

    With a = share of wrong solutions whose first wrong step is s, the accuracies are (1 - q) a and q, and
    F1(q) = 2 a q (1 - q) / (a + q - a q). F1' = 0 where (1 - a) q² + 2 a q = a, so q = √a / (1 + √a) and
    F1 = 2 a / (1 + √a)². It grows with a: s is the commonest first wrong step, and a mixture of several steps has a
    smaller a. Ours (elementary). `places`: the labelled steps of the wrong solutions.
    Returns (F1, q, s); zeros without wrong solutions. It is fitted to the labels that it is held to, so it errs
    upward, as a floor should.
    """
    if not len(places):
        return 0.0, 0.0, 0
    values, counts = np.unique(np.asarray(places), return_counts=True)
    s = int(values[counts.argmax()])
    root = float(np.sqrt(counts.max() / len(places)))
    return 2 * root**2 / (1 + root) ** 2, root / (1 + root), s


def bucket(case: Case) -> str:
    """The length class of a log, by its number of steps."""
    return next((name for most, name in BUCKETS if len(case.steps) <= most), f"over {BUCKETS[-1][0]}")
