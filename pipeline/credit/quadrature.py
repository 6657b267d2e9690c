"""Shapley values by Bayesian quadrature: a prior over games says which coalitions to value and how to weigh them.

Works on pairs: a coalition S and its complement, of which only the difference y(S) = v(S) - v(N - S) bears on a
Shapley value. Array suffixes beside the package's: D pair differences of a plan, P pairs to choose from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit.base import Estimator, refuse_above
from apportion.pipeline.credit.permutation import MAX_PLAYERS, MIN_INTERVAL_PAIRS, student_t
from apportion.pipeline.credit.prompt import Prompt

MAX_BUDGET = 4096
POOL = 2048
DECAY = 10.0
ROUGH = 0.3
# Stands for "any additive part is as likely as any other" while coalitions are chosen; the weights need no number.
ADDITIVE = 1e3
TIES = 1e-3


@dataclass(frozen=True, eq=False)
class Plan:
    """Coalitions to value and what to make of them; the last two are for `variance`.

    masks: shape (M,), each once: full, empty, then each chosen coalition followed by its complement.
    weights: shape (M, n), credit = values_GM @ weights.
    additive: shape (D, n), orthonormal; spans the pair differences of the additive games.
    error: shape (n,), variance of credit - Shapley value in a game of independent values of variance 1.
    """

    masks: NDArray[np.int64]
    weights: NDArray[np.float64]
    additive: NDArray[np.float64]
    error: NDArray[np.float64]

    @property
    def degrees(self) -> int:
        """Pair differences beyond those that an additive game uses up."""
        return len(self.additive) - len(self.error)


@dataclass(frozen=True)
class Kernel:
    """Covariance of y(S) and y(T) by the number of players in which S and T differ: `by_distance`, shape (n + 1,)."""

    by_distance: tuple[float, ...]

    @property
    def n(self) -> int:
        """Number of players."""
        return len(self.by_distance) - 1

    def between(self, signs: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
        """Covariance matrix of coalitions given as +1 and -1, shape (rows of signs, rows of others)."""
        distance = np.rint((self.n - signs @ others.T) / 2).astype(np.int64)
        entries: NDArray[np.float64] = np.array(self.by_distance)[distance]
        return entries

    def with_credits(self, signs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Covariance of y(S) with each player's Shapley value, shape (rows of signs, n)."""
        inside = _with_member(self)
        outside = -inside[::-1]
        size = (signs > 0).sum(axis=1)
        return np.where(signs > 0, inside[size][:, None], outside[size][:, None])

    def credit_variance(self) -> float:
        """Variance of a Shapley value: the mean over sizes of its covariance with a marginal contribution."""
        inside = _with_member(self)
        return float((inside[1:] + inside[::-1][:-1]).mean() / 2)


@lru_cache(maxsize=256)
def _with_member(kernel: Kernel) -> NDArray[np.float64]:
    """Covariance of a player's Shapley value with y(S), for |S| = 0..n and the player in S; 0 at size 0.

    A marginal contribution v(R + i) - v(R) is a step of the kernel; R keeps a of the others in S and b of those
    outside, with Shapley's weight, and both are counted.
    """
    n = kernel.n
    step = -np.diff(np.array(kernel.by_distance)) / 2
    result = np.zeros(n + 1)
    for size in range(1, n + 1):
        for a in range(size):
            for b in range(n - size + 1):
                share = comb(size - 1, a) * comb(n - size, b) / comb(n - 1, a + b) / n
                result[size] += share * step[size - 1 - a + b]
    return result


@lru_cache(maxsize=256)
def kernels(n: int) -> tuple[Kernel, Kernel, Kernel]:
    """The smooth and the rough part of the prior, and a wide additive one, for n >= 1 players."""
    near = np.exp(-DECAY * np.arange(n + 1) / n)
    return (
        Kernel(tuple((2 * (near - near[::-1])).tolist())),
        Kernel((2.0, *[0.0] * (n - 1), -2.0)),
        Kernel(tuple((ADDITIVE * (1 - 2 * np.arange(n + 1) / n)).tolist())),
    )


def minimum(n: int) -> int:
    """Fewest coalitions of a plan: full, empty, each player alone and each player left out."""
    return min(2 * n + 2, 1 << n)


def _signs(masks: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """+1 where a player is kept and -1 where not, shape (rows, n): y(S) of the additive game of each player."""
    return np.where((masks[:, None] >> np.arange(n)) & 1, 1.0, -1.0)


def _pool(n: int, seed: int) -> NDArray[np.int64]:
    """One coalition of each pair to choose from, without the full one; the single players first.

    All pairs where they are at most 2,048, else as many random ones, their sizes uniform.
    """
    rng = np.random.default_rng(seed)
    full = (1 << n) - 1
    singles = [1 << i for i in range(n)] if n > 2 else list(range(1, n))
    if 1 << (n - 1) <= POOL:
        rest = [mask for mask in range(1, 1 << (n - 1)) if not {mask, full ^ mask} & set(singles)]
        return np.array(singles + rng.permutation(rest).tolist(), dtype=np.int64)
    found = dict.fromkeys(singles)
    while len(found) < POOL:
        players = rng.choice(n, rng.integers(2, n // 2 + 1), replace=False)
        mask = sum(1 << int(player) for player in players)
        if full ^ mask not in found:
            found[mask] = None
    return np.array(list(found), dtype=np.int64)


class _Tokens:
    """Uncached tokens that each pair of the pool would cost after those taken so far."""

    def __init__(self, prompt: Prompt, pool: NDArray[np.int64], full: int) -> None:
        self._prompt, self._pool, self._full = prompt, pool, full
        both = prompt.lengths(pool) + prompt.lengths(full ^ pool)
        self._ahead = np.pad(np.cumsum(both[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))
        self._cached = np.zeros(len(pool), dtype=np.int64)
        self.take(full)

    def take(self, mask: int) -> None:
        """Both prompts of a pair are in the cache from now on: each is as near to one of a pair as the other is."""
        for taken in (mask, self._full ^ mask):
            np.maximum(self._cached, self._prompt.shared(taken, self._pool), out=self._cached)

    def cost(self) -> NDArray[np.float64]:
        """Shape (P,), and one more, so that nothing is free."""
        tokens: NDArray[np.float64] = self._ahead[np.arange(len(self._pool)), self._cached] + 1.0
        return tokens


@lru_cache(maxsize=256)
def _choose(n: int, budget: int, seed: int, prompt: Prompt | None) -> NDArray[np.int64]:
    """Full, then one coalition of each pair that leaves the Shapley values least uncertain, one after the other.

    Step by step of a Cholesky factorisation whose pivot is the pair that takes most from the summed variance of the
    credits (per square root of uncached token, where a prompt is given). Single players come first: leave-one-out
    needs them, and they settle every additive game. Gains are jittered by a thousandth, so that the seed settles
    ties and not rounding.
    """
    full = (1 << n) - 1
    pool = _pool(n, seed)
    count = min(budget // 2 - 1, len(pool))
    smooth, rough, additive = (np.array(kernel.by_distance) for kernel in kernels(n))
    prior = Kernel(tuple(((1 - ROUGH) * smooth + ROUGH * rough + additive).tolist()))
    signs, whole = _signs(pool, n), np.ones((1, n))
    jitter_P = 1 + TIES * np.random.default_rng([seed, 1]).random(len(pool))
    tokens = None if prompt is None else _Tokens(prompt, pool, full)
    variance_P = np.full(len(pool), prior.by_distance[0])
    credit_Pn = prior.with_credits(signs)
    factor_PD = np.zeros((len(pool), count + 1))
    free_P = np.ones(len(pool), dtype=bool)
    chosen: list[int] = []
    column_P, pivot, credit_n = prior.between(signs, whole)[:, 0], prior.by_distance[0], prior.with_credits(whole)[0]
    for step in range(count):
        factor_PD[:, step] = column_P / np.sqrt(pivot)
        variance_P -= np.square(factor_PD[:, step])
        credit_Pn -= np.outer(factor_PD[:, step], credit_n / np.sqrt(pivot))
        best = step
        if step >= n:
            gain_P = np.square(credit_Pn).sum(axis=1) / np.maximum(variance_P, 1e-9) * jitter_P
            if tokens is not None:
                gain_P /= np.sqrt(tokens.cost())
            best = int(np.where(free_P, gain_P, -1.0).argmax())
        chosen.append(best)
        free_P[best] = False
        if tokens is not None:
            tokens.take(int(pool[best]))
        pivot, credit_n = max(float(variance_P[best]), 1e-9), credit_Pn[best].copy()
        known = factor_PD[:, : step + 1] @ factor_PD[best, : step + 1]
        column_P = prior.between(signs, signs[best : best + 1])[:, 0] - known
    masks = np.concatenate([[full], pool[chosen]]).astype(np.int64)
    masks.flags.writeable = False
    return masks


def coalitions(n: int, budget: int, seed: int = 0, prompt: Prompt | None = None) -> NDArray[np.int64]:
    """The coalitions to value, at most `budget`, each once; more budget begins with the same ones.

    At most 4,096 are taken whatever the budget. Raises UserError beyond 62 players, and for a budget below the least:
    full, empty, each player alone and each left out.
    """
    if n > MAX_PLAYERS:
        raise UserError(f"quadrature: {n} players, at most {MAX_PLAYERS}; merge players")
    if budget < minimum(n):
        raise UserError(
            f"quadrature: {n} players need at least {minimum(n)} coalitions, the budget is {budget}; raise the budget"
        )
    if n == 0:
        return np.zeros(1, dtype=np.int64)
    # A power of two, so that a search over budgets does not choose anew each time.
    chosen = _choose(n, min(1 << (budget - 1).bit_length(), MAX_BUDGET), seed, prompt)[: budget // 2]
    return np.stack([chosen, ((1 << n) - 1) ^ chosen], axis=1).ravel()


@lru_cache(maxsize=8)
def plan(n: int, budget: int, seed: int = 0, prompt: Prompt | None = None) -> Plan:
    """`coalitions` with their weights, for n >= 0 players. Raises UserError as `coalitions` does."""
    masks = coalitions(n, budget, seed, prompt)
    if n == 0:
        return Plan(masks, np.zeros((1, 0)), np.zeros((1, 0)), np.zeros(0))
    signs = _signs(masks[::2], n)
    pairs = len(signs)
    smooth, rough, _ = kernels(n)
    rough_DD, rough_Dn = rough.between(signs, signs), rough.with_credits(signs)
    system = np.zeros((pairs + n, pairs + n))
    system[:pairs, :pairs] = (1 - ROUGH) * smooth.between(signs, signs) + ROUGH * rough_DD
    system[:pairs, pairs:], system[pairs:, :pairs] = signs, signs.T
    right = np.vstack([(1 - ROUGH) * smooth.with_credits(signs) + ROUGH * rough_Dn, np.eye(n)])
    half = np.linalg.solve(system, right)[:pairs]
    error = rough.credit_variance() - 2 * (half * rough_Dn).sum(axis=0) + (half * (rough_DD @ half)).sum(axis=0)
    error = np.zeros(n) if len(masks) == 1 << n else np.maximum(error, 0)
    weights = np.stack([half, -half], axis=1).reshape(-1, n)
    return Plan(masks, weights, np.linalg.qr(signs)[0], error)


def variance(values_GM: NDArray[np.float64], plan: Plan) -> NDArray[np.float64]:
    """Variance of credit - Shapley value, shape (G, n), as if the values were independent about an additive game.

    Their variance is that of what the best additive game leaves of the pair differences. A smooth game has a smaller
    error than this says. 0 in an additive game.
    """
    if not plan.error.any():
        return np.zeros((len(values_GM), len(plan.error)))
    difference = values_GM[:, 0::2] - values_GM[:, 1::2]
    left = difference - (difference @ plan.additive) @ plan.additive.T
    scale = np.square(left).sum(axis=1) / (2 * plan.degrees)
    return np.outer(scale, plan.error)


@dataclass(frozen=True)
class Quadrature(Estimator):
    """Shapley values by Bayesian quadrature; one plan for all games of a size, within `budget` coalitions.

    Prior over games: any additive game, plus a smooth part whose covariance falls by exp(-10 d / n) with the number d
    of players in which two coalitions differ (70 %), plus a part independent from coalition to coalition (30 %).
    Coalitions come in complementary pairs, each pair the one that takes most from the remaining variance of the
    credits; the credit is the posterior mean of the Shapley value given their values (universal kriging).
    Source of the idea: O'Hagan 1991 (Bayesian quadrature), Huszar and Duvenaud 2012 (sequential choice), Mitchell et
    al. 2022 (over permutations of players). The prior over coalitions and the pairs are **ours**. Status: ours.
    Efficient and linear in the values. Exact for games of individual and pairwise effects, and where every coalition
    is valued. Not unbiased, and credits can leave [-1, 1] by their error.
    The interval takes the values as independent about an additive game: right for a rough game, too wide for a
    smooth one, and too narrow where a threshold lies between the valued coalitions (research/shapley.py has the
    figures). `permutation` has an interval without a model.
    With `prompt`, pairs are chosen per square root of uncached token: more coalitions at the same prefill.
    Degenerate: n = 1 and n = 0 are exact. Cost: at least 2 n + 2 values a game, seconds once a plan at 4,096.
    """

    name: ClassVar[str] = "quadrature"
    samples: ClassVar[bool] = True

    budget: int
    seed: int = 0
    prompt: Prompt | None = None

    @classmethod
    def within(cls, n: int, budget: int, seed: int, unions: tuple[str, ...] | None, prompt: Prompt | None) -> Estimator:
        """All of the budget."""
        refuse_above(budget, cls.name, n, minimum(n))
        return cls(budget, seed, prompt)

    def plan(self, n: int) -> Plan:
        """The plan for games of n players."""
        return plan(n, self.budget, self.seed, self.prompt)

    def coalitions(self, n: int) -> NDArray[np.int64]:
        """See `coalitions`; the leave-one-out ones are among them."""
        return coalitions(n, self.budget, self.seed, self.prompt)

    def weights(self, n: int) -> NDArray[np.float64]:
        """Shape (M, n)."""
        return self.plan(n).weights

    def variance(self, values_GM: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        """See `variance`."""
        return variance(values_GM, self.plan(n))

    def critical(self, n: int) -> float:
        """Student's t with the plan's degrees; NaN below 15."""
        degrees = self.plan(n).degrees
        return student_t(degrees) if degrees >= MIN_INTERVAL_PAIRS - 1 else float("nan")
