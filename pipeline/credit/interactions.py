"""Pairwise Shapley interaction: do two players replace each other, or need each other?"""

from __future__ import annotations

from functools import lru_cache
from math import factorial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apportion.pipeline.credit import exact, solve

INDEX_NAME = "shapley_interaction"


def pairs(n: int) -> list[tuple[int, int]]:
    """The n (n-1) / 2 pairs (i, j), i < j, in the column order of `interaction`."""
    return [(i, j) for i in range(n) for j in range(i + 1, n)]


@lru_cache(maxsize=exact.MAX_PLAYERS + 1)
def weights(n: int) -> NDArray[np.float64]:
    """Shape (2**n, pairs): interaction = values @ weights. Cached and read-only (63 MB at 16)."""
    exact.check_players(n)
    matrix = np.zeros((1 << n, n * (n - 1) // 2))
    if n >= 2:
        total = factorial(n - 1)
        share = np.array([factorial(t) * factorial(n - t - 2) / total for t in range(n - 1)])
        masks, size_S = np.arange(1 << n), exact.sizes(n)
        for column, (i, j) in enumerate(pairs(n)):
            has_i, has_j = (masks >> i) & 1, (masks >> j) & 1
            matrix[:, column] = share[size_S - has_i - has_j] * np.where(has_i == has_j, 1.0, -1.0)
    matrix.flags.writeable = False
    return matrix


def interaction(values_GS: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shapley interaction index of every pair, shape (G, n(n-1)/2), of games of shape (G, 2**n).

    I_ij = sum over S without i, j of |S|! (n-|S|-2)! / (n-1)! * (v(S+i+j) - v(S+i) - v(S+j) + v(S)).
    Source: Grabisch and Roubens 1999. Status: source.
    Negative: a redundant pair, either does the other's work (OR: -1). Positive: complementary (AND: 1).
    Degenerate: n < 2 has no pairs. Cost: no value beyond those of the exact Shapley values.
    """
    return values_GS @ weights(exact.players_of(values_GS.shape[1]))


def solve_pairs(coalitions: pl.DataFrame) -> pl.DataFrame:
    """Columns game_id, a_index, b_index (positions in the game's players), index (its name), value.

    `coalitions` as for `solve.solve`; every game needs all its 2**n coalitions. Raises UserError otherwise.
    """
    parts = []
    for batch in solve.batches(coalitions):
        exact.check_players(batch.n)
        value_GS, _ = solve.gather(batch, np.arange(1 << batch.n, dtype=np.int64))
        columns = np.array(pairs(batch.n), dtype=np.int32).reshape(-1, 2)
        games = len(batch.game_ids)
        parts.append(
            pl.DataFrame(
                {
                    "game_id": batch.game_ids.gather(np.repeat(np.arange(games), len(columns))),
                    "a_index": np.tile(columns[:, 0], games),
                    "b_index": np.tile(columns[:, 1], games),
                    "index": pl.repeat(INDEX_NAME, games * len(columns), dtype=pl.String, eager=True),
                    "value": interaction(value_GS).ravel(),
                },
                schema=PAIR_SCHEMA,
            )
        )
    return pl.concat(parts) if parts else pl.DataFrame(schema=PAIR_SCHEMA)


PAIR_SCHEMA = pl.Schema(
    {"game_id": pl.String, "a_index": pl.Int32, "b_index": pl.Int32, "index": pl.String, "value": pl.Float64}
)
