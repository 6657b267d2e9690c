"""Leave-one-out credit: what the whole team loses without one player."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.credit.base import Estimator, refuse_above
from apportion.pipeline.credit.exact import players_of
from apportion.pipeline.credit.prompt import Prompt


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
class LeaveOneOut(Estimator):
    """v(N) - v(N without i), not conserved: see `leave_one_out`."""

    name: ClassVar[str] = "loo"
    efficient: ClassVar[bool] = False

    @classmethod
    def within(cls, n: int, budget: int, seed: int, unions: tuple[str, ...] | None, prompt: Prompt | None) -> Estimator:
        """All n + 1."""
        refuse_above(budget, cls.name, n, n + 1)
        return cls()

    def coalitions(self, n: int) -> NDArray[np.int64]:
        """The full one and n without one player."""
        return coalitions(n)

    def weights(self, n: int) -> NDArray[np.float64]:
        """See `weights`."""
        return weights(n)
