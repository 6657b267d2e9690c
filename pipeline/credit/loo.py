"""Leave-one-out credit: what the whole team loses without one player."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.credit.exact import NORMAL_95, players_of


def coalitions(n: int) -> NDArray[np.int64]:
    """The n + 1 coalitions needed: the full one first, then the team without player 0, 1, ..., n-1."""
    full = (1 << n) - 1
    return np.array([full, *(full ^ (1 << i) for i in range(n))], dtype=np.int64)


def weights(n: int) -> NDArray[np.float64]:
    """Shape (n + 1, n), rows as in `coalitions`: credit = values @ weights."""
    return np.vstack([np.ones((1, n)), -np.eye(n)])


def leave_one_out(values_GS: NDArray[np.float64]) -> NDArray[np.float64]:
    """v(N) - v(N without i), shape (G, n), of games given on their power set, shape (G, 2**n).

    Status: source (textbook). Not Shapley and **not conserved**: an OR game of two gives (0, 0), as either
    player can be spared, and an AND game (1, 1), as neither can; Shapley gives (1/2, 1/2) both times.
    Degenerate: n = 0 gives shape (G, 0); n = 1 equals Shapley. Cost: n + 1 values a game.
    """
    n = players_of(values_GS.shape[1])
    masks = coalitions(n)
    return values_GS[:, masks[:1]] - values_GS[:, masks[1:]]


@dataclass(frozen=True)
class LeaveOneOut:
    """v(N) - v(N without i), not conserved: see `leave_one_out`."""

    name: str = "loo"
    efficient: bool = False
    samples: bool = False

    def coalitions(self, n: int) -> NDArray[np.int64]:
        """The full one and n without one player."""
        return coalitions(n)

    def weights(self, n: int) -> NDArray[np.float64]:
        """See `weights`."""
        return weights(n)

    def variance(self, values_GM: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        """Zero."""
        return np.zeros((len(values_GM), n))

    def critical(self, n: int) -> float:
        """Normal quantile, for errors of the values alone."""
        return NORMAL_95
