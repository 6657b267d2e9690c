"""What an estimator must answer: which coalitions it needs, and how their values become credit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit.prompt import Prompt

NORMAL_95 = NormalDist().inv_cdf(0.975)


class Estimator(ABC):
    """A credit linear in the values of chosen coalitions: credit_Gn = values_GM @ weights(n). Equal ones are equal."""

    name: ClassVar[str]
    """Stored with each credit."""
    efficient: ClassVar[bool] = True
    """Whether the credits of a game sum to v(N) - v(empty)."""
    samples: ClassVar[bool] = False
    """Whether coalitions are sampled, so that the estimate has an error of its own."""

    @classmethod
    @abstractmethod
    def within(cls, n: int, budget: int, seed: int, unions: tuple[str, ...] | None, prompt: Prompt | None) -> Estimator:
        """The best one for n players that values at most `budget` coalitions. Raises UserError where none does.

        `unions`: of each player, where there are any. `prompt`: what coalitions cost.
        """

    @abstractmethod
    def coalitions(self, n: int) -> NDArray[np.int64]:
        """Coalitions to value, shape (M,), each once; the leave-one-out ones are among them."""

    @abstractmethod
    def weights(self, n: int) -> NDArray[np.float64]:
        """Shape (M, n)."""

    def variance(self, values_GM: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        """The estimate's own sampling variance, shape (G, n): 0 where exact, NaN where unknown."""
        return np.zeros((len(values_GM), n))

    def critical(self, n: int) -> float:
        """Half-width of the 95 % interval in standard errors; NaN where no interval is justified.

        The normal quantile is for errors of the values alone.
        """
        return NORMAL_95


def refuse_above(budget: int, name: str, n: int, needed: int) -> None:
    """Raise UserError where an estimator needs more coalitions than the budget has."""
    if needed > budget:
        raise UserError(
            f"estimator {name!r}: {n} players need {needed} coalitions, the budget is {budget}; raise the budget"
        )
