"""Exact Shapley values for small games, as one matrix product."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import factorial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit.base import Estimator, refuse_above
from apportion.pipeline.credit.prompt import Prompt

MAX_PLAYERS = 16


def players_of(size: int) -> int:
    """n for a power set of `size` = 2**n coalitions. Raises ValueError for any other size."""
    n = size.bit_length() - 1
    if size != 1 << n:
        raise ValueError(f"{size} coalitions are no power set: expected 2**n")
    return n


def sizes(n: int) -> NDArray[np.int64]:
    """Number of players in each of the 2**n coalitions, shape (2**n,)."""
    masks = np.arange(1 << n, dtype=np.int64)
    count: NDArray[np.int64] = ((masks[:, None] >> np.arange(n)) & 1).sum(axis=1)
    return count


def check_players(n: int) -> None:
    """Raise UserError where n players are too many for the full power set."""
    if n > MAX_PLAYERS:
        raise UserError(
            f"exact solver: {n} players need 2**{n} coalitions, at most {MAX_PLAYERS} players are taken; "
            "use the estimator 'auto'"
        )


@lru_cache(maxsize=MAX_PLAYERS + 1)
def weights(n: int) -> NDArray[np.float64]:
    """The matrix W, shape (2**n, n), with phi = v @ W. Cached and read-only.

    W[S, i] = (|S|-1)! (n-|S|)! / n! for i in S, and -|S|! (n-|S|-1)! / n! for i outside S.
    Raises UserError beyond 16 players (8 MB at 16).
    """
    check_players(n)
    total = factorial(n)
    inside = np.array([0.0] + [factorial(s - 1) * factorial(n - s) / total for s in range(1, n + 1)])
    outside = np.array([factorial(s) * factorial(n - s - 1) / total for s in range(n)] + [0.0])
    size_S = sizes(n)
    kept_Sn = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1 == 1
    matrix = np.where(kept_Sn, inside[size_S][:, None], -outside[size_S][:, None])
    matrix.flags.writeable = False
    return matrix


def shapley(values_GS: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exact Shapley values, shape (G, n), of games given on their power set, shape (G, 2**n).

    phi_i = sum over S without i of |S|! (n-|S|-1)! / n! * (v(S + i) - v(S)).
    Source: Shapley 1953, "A value for n-person games". Status: source.
    Efficient: the credits of a game sum to v(N) - v(empty). With v in [0, 1], |phi_i| <= 1.
    Degenerate: n = 0 gives shape (G, 0); n = 1 gives v(N) - v(empty).
    Cost: 2**n values a game, then G * 2**n * n multiplications. Meant for n <= 10, accepts n <= 16.
    """
    return values_GS @ weights(players_of(values_GS.shape[1]))


@dataclass(frozen=True)
class Exact(Estimator):
    """Exact Shapley values over all 2**n coalitions: see `shapley`."""

    name: ClassVar[str] = "exact"

    @classmethod
    def within(cls, n: int, budget: int, seed: int, unions: tuple[str, ...] | None, prompt: Prompt | None) -> Estimator:
        """All 2**n."""
        check_players(n)
        refuse_above(budget, cls.name, n, 1 << n)
        return cls()

    def coalitions(self, n: int) -> NDArray[np.int64]:
        """All 2**n. Raises UserError beyond 16 players."""
        check_players(n)
        return np.arange(1 << n, dtype=np.int64)

    def weights(self, n: int) -> NDArray[np.float64]:
        """See `weights`."""
        return weights(n)
