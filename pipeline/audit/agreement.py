"""How far two columns of numbers agree: rank correlation, signs, and the order of the agents of a trajectory."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apportion.pipeline.audit.figures import Estimate, estimate, mean

NOTHING = "nothing to compare"


def spearman(
    x_R: NDArray[np.float64], y_R: NDArray[np.float64], weights_BR: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Spearman's rank correlation of R rows under B weightings (whole numbers: how often a row counts), shape (B,).

    Pearson's correlation of the ranks; ties share the mean of their ranks. Source: Spearman 1904. Status: source.
    Degenerate: NaN where a side is constant or fewer than two rows count. Cost: two sorts, then O(B R).
    """
    total_B = weights_BR.sum(axis=1)
    x_BR, y_BR = (_centred(_ranks(side, weights_BR), weights_BR, total_B) for side in (x_R, y_R))
    spread_B = (weights_BR * x_BR**2).sum(axis=1) * (weights_BR * y_BR**2).sum(axis=1)
    rho_B = np.full(len(weights_BR), np.nan)
    np.divide((weights_BR * x_BR * y_BR).sum(axis=1), np.sqrt(spread_B), out=rho_B, where=spread_B > 0)
    return rho_B


def rank_correlation(rows: pl.DataFrame, x: str, y: str) -> Estimate:
    """Spearman's correlation of two columns, pooled over all rows, with its interval over trajectories."""
    known = rows.select("trajectory_id", x, y).drop_nulls()
    _, code_R = np.unique(known["trajectory_id"].to_numpy(), return_inverse=True)
    x_R, y_R = known[x].to_numpy(), known[y].to_numpy()

    def statistic(weights_BT: NDArray[np.float64]) -> NDArray[np.float64]:
        return spearman(x_R, y_R, weights_BT[:, code_R])

    undefined = "a side is constant: no ranks to compare" if len(known) > 1 else NOTHING
    return estimate(statistic, known["trajectory_id"].n_unique(), undefined, len(known))


def sign_agreement(rows: pl.DataFrame, x: str, truth: str) -> Estimate:
    """Share of rows in which x has the sign of `truth`. Status: ours in its treatment of zeros.

    A zero of `truth` has no sign: its row is left out. A zero of x beside a nonzero `truth` counts one half, as a
    coin would. So a constant x = 0 reads 0.5. Degenerate: None where every `truth` is zero.
    """
    judged = rows.select("trajectory_id", x, truth).drop_nulls().filter(pl.col(truth) != 0)
    judged = judged.with_columns(right=_right(pl.col(x), pl.col(truth)))
    return mean(judged, "right", "every replayed difference is zero" if len(rows) else NOTHING)


def commoner_sign(rows: pl.DataFrame, truth: str) -> Estimate:
    """Share of the commoner sign among the nonzero values: what always guessing that sign would reach."""
    signs = rows[truth].drop_nulls().sign()
    positive, nonzero = int((signs > 0).sum()), int((signs != 0).sum())
    if not nonzero:
        return Estimate(None, note="every replayed difference is zero" if len(signs) else NOTHING)
    return Estimate(max(positive, nonzero - positive) / nonzero, nonzero)


def order_share(rows: pl.DataFrame, x: str, truth: str) -> Estimate:
    """Share of pairs of agents of one trajectory that x puts in the order of `truth`. Status: ours.

    Pairs that `truth` ties have no order and are left out; pairs that x ties count one half: chance is 0.5.
    Degenerate: None where no trajectory has two agents that differ in `truth`.
    """
    pairs = pairs_of(rows.select("trajectory_id", "player", x, truth).drop_nulls(), truth)
    ordered = pairs.with_columns(right=_right(pl.col(x) - pl.col(f"{x}_right"), pl.col("gap")))
    return mean(ordered, "right", "no two agents of a trajectory differ in the replay" if len(rows) else NOTHING)


def pairs_of(rows: pl.DataFrame, truth: str) -> pl.DataFrame:
    """Every pair of players of a trajectory that differs in `truth`; `gap` is the difference."""
    pairs = rows.join(rows, on="trajectory_id").filter(pl.col("player") < pl.col("player_right"))
    return pairs.with_columns(gap=pl.col(truth) - pl.col(f"{truth}_right")).filter(pl.col("gap").abs() > 1e-9)


def _right(guess: pl.Expr, truth: pl.Expr) -> pl.Expr:
    return (1 + guess.sign() * truth.sign()) / 2


def _ranks(values_R: NDArray[np.float64], weights_BR: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean ranks from 1, shape (B, R), of values of which each counts as often as its weight says."""
    if not len(values_R):
        return np.zeros_like(weights_BR)
    _, group_R = np.unique(values_R, return_inverse=True)
    order_R = np.argsort(group_R, kind="stable")
    starts_U = np.flatnonzero(np.diff(group_R[order_R], prepend=-1))
    held_BU = np.add.reduceat(weights_BR[:, order_R], starts_U, axis=1)
    ranks_BR: NDArray[np.float64] = (np.cumsum(held_BU, axis=1) - (held_BU - 1) / 2)[:, group_R]
    return ranks_BR


def _centred(
    ranks_BR: NDArray[np.float64], weights_BR: NDArray[np.float64], total_B: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The ranks less their weighted mean; half-integers add up exactly, so a constant side is exactly 0."""
    centred_BR: NDArray[np.float64] = ranks_BR - ((weights_BR * ranks_BR).sum(axis=1) / np.maximum(total_B, 1))[:, None]
    return centred_BR
