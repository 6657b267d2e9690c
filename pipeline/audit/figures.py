"""A figure of the table `audit`, and the bootstrap over trajectories that gives it an interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

DRAWS = 2000
SEED = 0
FEW = 10
"""Below so many trajectories the interval is there, with a warning."""
_DEFINED = 0.95
"""No interval where the figure is undefined in more than the rest of the resamples."""
_BLOCK = 2_000_000
"""Numbers held at once by a block of draws, about."""

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Weights of the trajectories, shape (B, T), to the figure under each of them, shape (B,); NaN: undefined."""


@dataclass(frozen=True)
class Estimate:
    """A figure over `n` rows with its 95 % interval; None is undefined, and `note` says why or what to mind."""

    value: float | None
    n: int = 0
    low: float | None = None
    high: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class Figure:
    """One row of `audit`."""

    check: str
    metric: str
    scope: str
    estimate: Estimate

    def row(self) -> dict[str, Any]:
        """The row, columns as declared."""
        one = self.estimate
        return {
            "check": self.check, "metric": self.metric, "scope": self.scope, "value": one.value, "ci_low": one.low,
            "ci_high": one.high, "n": one.n, "note": one.note,
        }  # fmt: skip


def estimate(statistic: Statistic, trajectories: int, undefined: str, rows: int) -> Estimate:
    """A statistic of T trajectories with its percentile bootstrap interval: 2,000 draws of T, with replacement.

    Trajectories are drawn whole, since the agents of one depend on each other; those of one task may do so too, and the
    interval does not cover that. `rows`: what the figure is computed over.
    Never NaN: an undefined figure is None with the note `undefined`; an interval is None, with a note, for a single
    trajectory, where more than 5 % of the draws leave the figure undefined, and where all draws agree (every
    trajectory alike says nothing of the next one). Seeded: the same input gives the same interval.
    """
    if not trajectories:
        return Estimate(None, rows, note=undefined)
    value = float(statistic(np.ones((1, trajectories)))[0])
    if np.isnan(value):
        return Estimate(None, rows, note=undefined)
    if trajectories == 1:
        return Estimate(value, rows, note="no interval: a single trajectory")
    drawn = np.concatenate([statistic(weights) for weights in _resamples(trajectories, max(rows, trajectories))])
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) < _DEFINED * DRAWS:
        share = 100 * (1 - len(drawn) / DRAWS)
        return Estimate(value, rows, note=f"no interval: undefined in {share:.0f} % of the resamples")
    low, high = (float(end) for end in np.percentile(drawn, [2.5, 97.5]))
    if high - low < 1e-12:
        return Estimate(value, rows, note="no interval: the same in every resample")
    note = f"only {trajectories} trajectories: the interval is too narrow" if trajectories < FEW else None
    return Estimate(value, rows, low, high, note)


def ratio(numerator_T: NDArray[np.float64], denominator_T: NDArray[np.float64]) -> Statistic:
    """Sum of numerators over sum of denominators: means and shares of rows that belong to trajectories."""

    def statistic(weights_BT: NDArray[np.float64]) -> NDArray[np.float64]:
        below = weights_BT @ denominator_T
        share_B = np.full(len(below), np.nan)
        np.divide(weights_BT @ numerator_T, below, out=share_B, where=below > 0)
        return share_B

    return statistic


def mean(rows: pl.DataFrame, column: str, undefined: str) -> Estimate:
    """Mean of a column (numbers or flags, nulls left out) of rows with a trajectory_id, drawn by trajectory.

    The rows may come in any order: trajectories are drawn in the order of their ids.
    """
    known = rows.select("trajectory_id", value=pl.col(column).cast(pl.Float64)).drop_nulls()
    sums = known.group_by("trajectory_id").agg(pl.col("value").sum(), n=pl.len()).sort("trajectory_id")
    share = ratio(sums["value"].to_numpy(), sums["n"].cast(pl.Float64).to_numpy())
    return estimate(share, len(sums), undefined, len(known))


def _resamples(trajectories: int, width: int) -> Iterator[NDArray[np.float64]]:
    """How often each trajectory was drawn, block by block, shape (B, T)."""
    rng = np.random.default_rng(SEED)
    block = max(1, min(DRAWS, _BLOCK // width))
    for start in range(0, DRAWS, block):
        size = min(block, DRAWS - start)
        drawn_BT = rng.integers(trajectories, size=(size, trajectories)) + np.arange(size)[:, None] * trajectories
        counts = np.bincount(drawn_BT.ravel(), minlength=size * trajectories)
        yield counts.reshape(size, trajectories).astype(np.float64)
