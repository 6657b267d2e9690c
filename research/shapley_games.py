"""Games of twelve players for research/shapley.py, each family as values on the power set, shape (games, 4096)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apportion.pipeline.credit.solve import batches, gather

PLAYERS = 12
ALL = np.arange(1 << PLAYERS)
BITS = (ALL[:, None] >> np.arange(PLAYERS)) & 1


def random_games(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Independent values, uniform on [0, 1]."""
    return rng.random((count, len(ALL)))


def _subsets(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Random sets of players, their sizes uniform on 1..12, shape (count, 12)."""
    order = rng.random((count, PLAYERS)).argsort(axis=1)
    return (order < rng.integers(1, PLAYERS + 1, (count, 1))).astype(np.int64)


def or_games(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """1 where any player of a random set is kept."""
    return np.where(_subsets(count, rng) @ BITS.T > 0, 1.0, 0.0)


def and_games(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """1 where every player of a random set is kept."""
    chosen = _subsets(count, rng)
    return np.where(chosen @ BITS.T == chosen.sum(axis=1, keepdims=True), 1.0, 0.0)


def voting_games(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """1 where the weights kept, uniform on [0, 1], reach a quota: a share of all weight, uniform on [1/4, 3/4]."""
    weight = rng.random((count, PLAYERS))
    quota = weight.sum(axis=1, keepdims=True) * rng.uniform(0.25, 0.75, (count, 1))
    return np.where(weight @ BITS.T >= quota, 1.0, 0.0)


def recorded_games(count: int, rng: np.random.Generator, store: Path) -> NDArray[np.float64] | None:
    """Teams of twelve composed of real games of three: those of `store`/runs/coalitions, values as they were scored.

    No recorded game of twelve players is exactly solvable at hand, so that each is made of four different recorded
    games of three agents, players 0-2, 3-5, 6-8 and 9-11; every part is stretched to reach from 0 to 1 (a game that
    moves by less than 1e-6 is no part), and the whole is, in turn, the mean of the four (independent work), their
    product (each stage is needed), and 1 - the product of (1 - part) (each stage suffices).
    None where fewer than four such games are there.
    """
    parts = _recorded_parts(store)
    if len(parts) < 4:
        return None
    games = np.empty((count, len(ALL)))
    for game in range(count):
        four = parts[rng.choice(len(parts), 4, replace=False)]
        values = np.stack([four[block][(ALL >> 3 * block) & 7] for block in range(4)])
        games[game] = (values.mean(axis=0), values.prod(axis=0), 1 - (1 - values).prod(axis=0))[game % 3]
    return games


def _recorded_parts(store: Path) -> NDArray[np.float64]:
    files = sorted((store / "runs" / "coalitions").glob("run_id=*/*.parquet"))
    parts = [np.zeros((0, 8))]
    for file in files:
        table = pl.read_parquet(file, columns=["game_id", "kept", "value", "stderr"])
        whole = table.filter((pl.col("kept").str.len_chars() == 3) & (pl.len().over("game_id") == 8))
        for batch in batches(whole):
            parts.append(gather(batch, np.arange(8))[0])
    values = np.concatenate(parts)
    low, span = values.min(axis=1, keepdims=True), np.ptp(values, axis=1, keepdims=True)
    moves = span[:, 0] > 1e-6
    stretched: NDArray[np.float64] = (values[moves] - low[moves]) / span[moves]
    return stretched


def families(count: int, seed: int, recorded: Path | None) -> dict[str, NDArray[np.float64]]:
    """The families by name; "recorded" is absent where there is nothing recorded."""
    rng = np.random.default_rng(seed)
    makers = {"random": random_games, "OR": or_games, "AND": and_games, "voting": voting_games}
    found = {name: make(count, rng) for name, make in makers.items()}
    composed = recorded_games(count, rng, recorded) if recorded else None
    return found if composed is None else {**found, "recorded": composed}
