"""Shapley values from antithetic pairs of sampled permutations: plan the coalitions, value them, estimate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit import loo
from apportion.pipeline.credit.base import NORMAL_95, Estimator
from apportion.pipeline.credit.prompt import Prompt

MAX_PLAYERS = 62
MIN_INTERVAL_PAIRS = 16
MAX_PAIRS = 4096


@dataclass(frozen=True, eq=False)
class Plan:
    """Permutations and the coalitions that they need.

    orders: permutations, shape (P, n); rows 2k and 2k+1 are a pair (the second is the first reversed).
    masks: coalitions to value, shape (M,), each once: full, empty, those of leave-one-out, then prefixes.
    prefixes: shape (P, n + 1), where in masks the first j players of a permutation are, j = 0..n.
    """

    orders: NDArray[np.int64]
    masks: NDArray[np.int64]
    prefixes: NDArray[np.int64]

    @property
    def n(self) -> int:
        """Number of players."""
        return int(self.orders.shape[1])

    @property
    def pairs(self) -> int:
        """Number of antithetic pairs."""
        return len(self.orders) // 2

    @property
    def budget(self) -> int:
        """Number of distinct coalitions to value."""
        return len(self.masks)


def plan_orders(orders: ArrayLike) -> Plan:
    """The plan for given permutations, shape (P, n), P even, pairs in consecutive rows.

    Raises UserError beyond 62 players, ValueError for rows that are no permutations or an odd number of them.
    """
    orders_Pn = np.asarray(orders, dtype=np.int64)
    if orders_Pn.ndim != 2 or len(orders_Pn) < 2 or len(orders_Pn) % 2:
        raise ValueError("permutations come in pairs: expected an even number of rows, at least two")
    n = orders_Pn.shape[1]
    if n > MAX_PLAYERS:
        raise UserError(f"permutation sampling: {n} players, at most {MAX_PLAYERS}; merge players")
    if not (np.sort(orders_Pn, axis=1) == np.arange(n)).all():
        raise ValueError(f"every row must be a permutation of 0..{n - 1}")
    prefixes = np.zeros((len(orders_Pn), n + 1), dtype=np.int64)
    np.cumsum(np.left_shift(1, orders_Pn), axis=1, out=prefixes[:, 1:])
    leave_one_out = loo.coalitions(n)
    needed = np.concatenate([leave_one_out[:1], [0], leave_one_out[1:], prefixes.ravel()])
    unique, first, inverse = np.unique(needed, return_index=True, return_inverse=True)
    rank = np.empty(len(unique), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(unique))
    return Plan(orders_Pn, needed[np.sort(first)], rank[inverse[n + 2 :]].reshape(prefixes.shape))


@lru_cache(maxsize=64)
def plan(n: int, pairs: int, seed: int) -> Plan:
    """`pairs` uniform permutations of n players, each followed by its reverse.

    The same seed with more pairs begins with the same permutations. At most 2 + n + 2 * pairs * (n - 1)
    coalitions. Raises UserError for fewer than one pair or more than 62 players.
    """
    if pairs < 1:
        raise UserError(f"permutation sampling: pairs = {pairs}; ask for at least 1 (16 for an interval)")
    rng = np.random.default_rng(seed)
    forward = np.array([rng.permutation(n) for _ in range(pairs)], dtype=np.int64).reshape(pairs, n)
    return plan_orders(np.stack([forward, forward[:, ::-1]], axis=1).reshape(2 * pairs, n))


def pairs_within(budget: int, plan_of: Callable[[int], Plan]) -> int:
    """The most pairs, at most 4,096, whose plan values at most `budget` distinct coalitions; 0 where none fits."""
    low, high = 0, min(MAX_PAIRS, max(budget, 1))
    while low < high:
        middle = (low + high + 1) // 2
        if plan_of(middle).budget <= budget:
            low = middle
        else:
            high = middle - 1
    return low


def plan_within(n: int, budget: int, seed: int) -> Plan:
    """The largest plan of this seed that values at most `budget` distinct coalitions.

    Raises UserError where not even one pair fits.
    """
    pairs = pairs_within(budget, lambda pairs: plan(n, pairs, seed))
    if not pairs:
        raise UserError(
            f"permutation sampling: one pair of {n} players needs {plan(n, 1, seed).budget} coalitions, "
            f"the budget is {budget}; raise the budget"
        )
    return plan(n, pairs, seed)


def weights(plan: Plan) -> NDArray[np.float64]:
    """Shape (M, n): the estimate of a plan is linear in the values, credit = values_GM @ weights."""
    matrix = np.zeros((plan.budget, plan.n))
    share = 1.0 / len(plan.orders)
    np.add.at(matrix, (plan.prefixes[:, 1:], plan.orders), share)
    np.subtract.at(matrix, (plan.prefixes[:, :-1], plan.orders), share)
    return matrix


def pair_variance(values_GM: NDArray[np.float64], plan: Plan) -> NDArray[np.float64]:
    """Variance of the estimate over the draw of permutations, shape (G, n): that of the pair means / pairs.

    The two halves of a pair are dependent, the pairs are not: hence pair means. NaN with a single pair.
    """
    games = len(values_GM)
    mean = np.zeros((games, plan.n))
    squares = np.zeros((games, plan.n))
    marginals = np.empty((games, plan.n))
    for pair in range(plan.pairs):
        pair_mean = np.zeros((games, plan.n))
        for row in (2 * pair, 2 * pair + 1):
            prefix = plan.prefixes[row]
            marginals[:, plan.orders[row]] = values_GM[:, prefix[1:]] - values_GM[:, prefix[:-1]]
            pair_mean += marginals / 2
        delta = pair_mean - mean
        mean += delta / (pair + 1)
        squares += delta * (pair_mean - mean)
    if plan.pairs == 1:
        return np.full((games, plan.n), np.nan)
    return squares / (plan.pairs - 1) / plan.pairs


def student_t(degrees: int) -> float:
    """Two-sided critical value of Student's t at 95 %, from `degrees` = 15 on (error below 1e-5).

    Expansion around the normal quantile (Abramowitz and Stegun 26.7.5). Raises ValueError below 15 degrees.
    """
    if degrees < MIN_INTERVAL_PAIRS - 1:
        raise ValueError(f"{degrees} degrees of freedom: at least {MIN_INTERVAL_PAIRS - 1} are needed")
    z = NORMAL_95
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(sum(term / degrees**power for power, term in enumerate(terms)))


def critical(pairs: int) -> float:
    """Half-width of the 95 % interval in standard errors: Student's t from 16 pairs on, NaN below."""
    return student_t(pairs - 1) if pairs >= MIN_INTERVAL_PAIRS else float("nan")


@dataclass(frozen=True)
class Permutation(Estimator):
    """Antithetic permutation sampling, one plan for all games of a size.

    credit_i = mean over permutations of v(those before i, and i) - v(those before i), in antithetic pairs.
    Source: Castro et al. 2009 (permutations), Mitchell et al. 2022 (antithetic pairs). Status: source.
    Efficient by telescoping: every permutation alone sums to v(N) - v(empty), so the mean does too.
    The standard error comes from the pair means; the interval is Student's t, from 16 pairs on.
    Degenerate: n <= 2 is exact (one pair holds every order), its standard error 0; with one pair it is not known.
    Cost: at most 2 + n + 2 * pairs * (n - 1) values a game, each coalition valued once.
    """

    name: ClassVar[str] = "permutation"
    samples: ClassVar[bool] = True

    pairs: int
    seed: int = 0

    @classmethod
    def within(cls, n: int, budget: int, seed: int, unions: tuple[str, ...] | None, prompt: Prompt | None) -> Estimator:
        """As many pairs as fit."""
        return cls(plan_within(n, budget, seed).pairs, seed)

    def plan(self, n: int) -> Plan:
        """The plan for games of n players."""
        return plan(n, self.pairs, self.seed)

    def coalitions(self, n: int) -> NDArray[np.int64]:
        """The plan's coalitions, leave-one-out included."""
        return self.plan(n).masks

    def weights(self, n: int) -> NDArray[np.float64]:
        """See `weights`."""
        return weights(self.plan(n))

    def variance(self, values_GM: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        """See `pair_variance`."""
        return pair_variance(values_GM, self.plan(n))

    def critical(self, n: int) -> float:
        """Student's t from 16 pairs on, NaN below."""
        return critical(self.pairs)
