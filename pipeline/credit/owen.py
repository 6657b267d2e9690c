"""Owen value: messages are the players, their agents the unions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import factorial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit import permutation
from apportion.pipeline.credit.base import Estimator, refuse_above
from apportion.pipeline.credit.exact import sizes
from apportion.pipeline.credit.prompt import Prompt

MAX_COALITIONS = 1 << 16


def members(unions: Sequence[Hashable]) -> list[list[int]]:
    """Players of each union, unions in order of first appearance; `unions[k]` names player k's union."""
    groups: dict[Hashable, list[int]] = {}
    for player, union in enumerate(unions):
        groups.setdefault(union, []).append(player)
    return list(groups.values())


def _subset_masks(bits: Sequence[int]) -> NDArray[np.int64]:
    """Entry s is the OR of bits[i] over the set bits i of s, shape (2**len(bits),)."""
    chosen = (np.arange(1 << len(bits))[:, None] >> np.arange(len(bits))) & 1
    return chosen @ np.array(bits, dtype=np.int64)


def coalition_count(unions: Sequence[Hashable]) -> int:
    """Coalitions that the exact Owen value needs: whole unions, or whole unions with a part of one other."""
    groups = members(unions)
    return (1 << len(groups)) + sum(((1 << len(group)) - 2) << (len(groups) - 1) for group in groups)


@dataclass(frozen=True, eq=False)
class OwenPlan:
    """masks: coalitions to value, shape (M,), each once. weights: (M, n), credit = values_GM @ weights."""

    masks: NDArray[np.int64]
    weights: NDArray[np.float64]


@lru_cache(maxsize=256)
def plan(unions: tuple[Hashable, ...]) -> OwenPlan:
    """The exact Owen value of n = len(unions) players, as the coalitions it needs and their weights.

    phi_k = sum over sets R of other unions, and T of k's own union without k, of
    |R|! (U-|R|-1)! / U! * |T|! (b-|T|-1)! / b! * (v(R + T + k) - v(R + T)), U unions, b players in k's.
    Source: Owen 1977, "Values of games with a priori unions". Status: source.
    That agents are the unions and messages the players is ours.
    Efficient; the credits of a union sum exactly to its Shapley value in the quotient game.
    Degenerate: one union, or unions of one, give the Shapley value.
    Cost: 2**U plus the sum over unions of 2**(U - 1) (2**b - 2) coalitions. Raises UserError beyond 65,536 of them, or
    beyond 62 players: use `sampled_plan` there.
    """
    groups = members(unions)
    cost = coalition_count(unions)
    if len(unions) > permutation.MAX_PLAYERS or cost > MAX_COALITIONS:
        raise UserError(
            f"Owen value: {len(unions)} players in {len(groups)} unions need {cost} coalitions, "
            f"at most {MAX_COALITIONS} (and {permutation.MAX_PLAYERS} players) are taken; sample instead"
        )
    union_bits = [sum(1 << k for k in group) for group in groups]
    masks, rows, columns, shares = [np.array([(1 << len(unions)) - 1, 0], dtype=np.int64)], [], [], []
    position = 2
    for union, group in enumerate(groups):
        others = _subset_masks(union_bits[:union] + union_bits[union + 1 :])
        outer = _share(sizes(len(groups) - 1), len(groups))
        inner = _share(sizes(len(group) - 1), len(group))
        for slot, player in enumerate(group):
            within = _subset_masks([1 << k for k in group[:slot] + group[slot + 1 :]])
            without = (others[:, None] + within).ravel()
            share = np.outer(outer, inner).ravel()
            for coalition, sign in ((without | (1 << player), 1.0), (without, -1.0)):
                masks.append(coalition)
                rows.append(np.arange(position, position + len(coalition)))
                columns.append(np.full(len(coalition), player))
                shares.append(sign * share)
                position += len(coalition)
    masks_M, inverse = np.unique(np.concatenate(masks), return_inverse=True)
    matrix = np.zeros((len(masks_M), len(unions)))
    if rows:
        np.add.at(matrix, (inverse[np.concatenate(rows)], np.concatenate(columns)), np.concatenate(shares))
    matrix.flags.writeable = False
    return OwenPlan(masks_M, matrix)


def _share(size: NDArray[np.int64], total: int) -> NDArray[np.float64]:
    """s! (total-s-1)! / total! for each s in `size`."""
    return np.array([factorial(s) * factorial(total - s - 1) / factorial(total) for s in range(total)])[size]


@lru_cache(maxsize=256)
def sampled_plan(unions: tuple[Hashable, ...], pairs: int, seed: int) -> permutation.Plan:
    """Two-level sampling: random order of unions, random order inside each; then all of it reversed.

    Solved as permutations are: unbiased for the Owen value, conserved, standard error from the pair means. A reversed
    order keeps each union together. Status: ours.
    Raises UserError for fewer than one pair or more than 62 players.
    """
    if pairs < 1:
        raise UserError(f"Owen sampling: pairs = {pairs}; ask for at least 1 (16 for an interval)")
    rng = np.random.default_rng(seed)
    groups = members(unions)
    orders = []
    for _ in range(pairs):
        order = [k for union in rng.permutation(len(groups)) for k in rng.permutation(groups[union]).tolist()]
        orders += [order, order[::-1]]
    return permutation.plan_orders(np.array(orders, dtype=np.int64).reshape(2 * pairs, len(unions)))


@dataclass(frozen=True)
class Owen(Estimator):
    """Exact Owen value as an estimator for `solve`; all games of one call have the same `unions`."""

    name: ClassVar[str] = "owen"

    unions: tuple[Hashable, ...]

    @classmethod
    def within(cls, n: int, budget: int, seed: int, unions: tuple[str, ...] | None, prompt: Prompt | None) -> Estimator:
        """Exact where its coalitions fit, else sampled."""
        if unions is None:
            raise UserError("estimator 'owen' needs messages as players; set the players to messages")
        if len(unions) != n:
            raise UserError(f"estimator 'owen': {n} players, but unions for {len(unions)}; name one for each player")
        if coalition_count(unions) <= min(budget, MAX_COALITIONS):
            return cls(unions)
        pairs = permutation.pairs_within(budget, lambda pairs: sampled_plan(unions, pairs, seed))
        if not pairs:
            refuse_above(budget, cls.name, n, sampled_plan(unions, 1, seed).budget)
        return SampledOwen(unions, pairs, seed)

    def coalitions(self, n: int) -> NDArray[np.int64]:
        """Coalitions to value. Raises UserError where the games have another number of players."""
        _check(n, self.unions)
        return plan(self.unions).masks

    def weights(self, n: int) -> NDArray[np.float64]:
        """Shape (M, n): credit = values @ weights."""
        return plan(self.unions).weights


@dataclass(frozen=True)
class SampledOwen(Owen):
    """Owen value from two-level orders in antithetic pairs, for unions too large for `Owen`: see `sampled_plan`."""

    name: ClassVar[str] = "owen_sampled"
    samples: ClassVar[bool] = True

    pairs: int
    seed: int = 0

    def plan(self, n: int) -> permutation.Plan:
        """The plan. Raises UserError where the games have another number of players."""
        _check(n, self.unions)
        return sampled_plan(self.unions, self.pairs, self.seed)

    def coalitions(self, n: int) -> NDArray[np.int64]:
        """The plan's coalitions, leave-one-out included."""
        return self.plan(n).masks

    def weights(self, n: int) -> NDArray[np.float64]:
        """See `permutation.weights`."""
        return permutation.weights(self.plan(n))

    def variance(self, values_GM: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        """See `permutation.pair_variance`."""
        return permutation.pair_variance(values_GM, self.plan(n))

    def critical(self, n: int) -> float:
        """Student's t from 16 pairs on, NaN below."""
        return permutation.critical(self.pairs)


def _check(n: int, unions: tuple[Hashable, ...]) -> None:
    if n != len(unions):
        raise UserError(f"Owen value: games of {n} players, but unions for {len(unions)}; group the games")
