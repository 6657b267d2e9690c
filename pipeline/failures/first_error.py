"""From the values of growing prefixes to the first error; "not found" is an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class FirstError:
    """`turn`: place among the log's turns. `fall`: how far the value falls there, in [0, 1]."""

    turn: int
    fall: float


def first_fall(values: Sequence[float], margin: float) -> FirstError | None:
    """The first turn t with V(h_t) < V(h_{t-1}) - margin, for values without sampling error.

    `values`: V(h_0), ..., V(h_T), one more than there are turns. Status: source (methods, section 4).
    """
    for turn, (before, after) in enumerate(pairwise(values)):
        if after < before - margin:
            return FirstError(turn, min(1.0, before - after))
    return None


def change_point(successes: Sequence[int], k: Sequence[int], margin: float, z: float = 1.96) -> FirstError | None:
    """The turn at which a success share falls, from binomial counts of the prefixes h_0, ..., h_T of a failure.

    Every turn t splits the prefixes into those before it (h_0 .. h_{t-1}) and those after (h_t .. h_T); the split of
    largest binomial likelihood with a falling share is taken, the earliest among equals, and stands when the Newcombe
    interval (`z` standard errors) of the pooled fall lies above `margin`. Else None: nothing was found.
    Comparing single neighbours instead would need about 8 rollouts a prefix before any fall is significant.
    Status: ours. Degenerate: no success anywhere gives None; a log whose very first turn loses gives turn 0.
    Source of the interval: Newcombe (1998), Statistics in Medicine 17, method 10.
    """
    best: tuple[float, int] | None = None
    for turn in range(len(successes) - 1):
        won, of = sum(successes[: turn + 1]), sum(k[: turn + 1])
        lost, among = sum(successes[turn + 1 :]), sum(k[turn + 1 :])
        if won * among <= lost * of:
            continue
        likelihood = _log_likelihood(won, of) + _log_likelihood(lost, among)
        if best is None or likelihood > best[0] + 1e-9:
            best = likelihood, turn
    if best is None:
        return None
    turn = best[1]
    won, of = sum(successes[: turn + 1]), sum(k[: turn + 1])
    lost, among = sum(successes[turn + 1 :]), sum(k[turn + 1 :])
    if newcombe(won, of, lost, among, z)[0] <= margin:
        return None
    return FirstError(turn, won / of - lost / among)


def newcombe(won: int, of: int, lost: int, among: int, z: float = 1.96) -> tuple[float, float]:
    """Interval of the difference of two shares, won/of - lost/among, from their Wilson intervals."""
    p, q = won / of, lost / among
    (p_low, p_high), (q_low, q_high) = wilson(won, of, z), wilson(lost, among, z)
    low = p - q - math.hypot(p - p_low, q_high - q)
    high = p - q + math.hypot(p_high - p, q - q_low)
    return low, high


def wilson(won: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share."""
    share = won / of
    centre = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, centre - half), min(1.0, centre + half)


def _log_likelihood(won: int, of: int) -> float:
    share = won / of
    return sum(n * math.log(p) for n, p in ((won, share), (of - won, 1 - share)) if n)
