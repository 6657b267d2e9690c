"""From the values of growing prefixes to the first error; "not found" is an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Z = 1.959963984540054
"""Standard errors of a 95 % interval."""
EVIDENCE = 2.0
"""Nats by which a split must explain the counts better than one share for all of them."""


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


def change_point(successes: Sequence[int], k: Sequence[int], margin: float) -> FirstError | None:
    """The turn at which a success share falls, from binomial counts of the prefixes h_0, ..., h_{T-1} of a failure.

    Every turn t splits the prefixes into those before it (h_0 .. h_{t-1}) and those after it (h_t .. h_{T-1}, and the
    end h_T, which is a failure for certain). Splitting at the last turn explains all counts by one share. An earlier
    split has to explain them better by `EVIDENCE` nats of log-likelihood, with a falling share; the best one is taken,
    the earliest among equals. It stands when the pooled fall lies above `margin` with its Newcombe interval, nominally
    95 %: the split was chosen on the same counts, so it is a rule for what is worth repairing and not a test; what the
    repair is worth is measured on fresh continuations.
    Comparing single neighbours instead would need about 8 rollouts a prefix before any fall stands out.
    Status: ours. Degenerate: no success anywhere gives None. A prefix without verdicts (k = 0) says nothing.
    """
    last = len(successes) - 1
    best: tuple[float, int] | None = None
    for turn in range(last, -1, -1):
        won, of = sum(successes[: turn + 1]), sum(k[: turn + 1])
        lost, among = sum(successes[turn + 1 :]), sum(k[turn + 1 :])
        if not won or (turn < last and (not among or won * among <= lost * of)):
            continue
        likelihood = _log_likelihood(won, of) + _log_likelihood(lost, among)
        bar = -math.inf if best is None else best[0] + (EVIDENCE if best[1] == last else -1e-9)
        if likelihood >= bar:
            best = likelihood, turn
    if best is None:
        return None
    turn = best[1]
    won, of = sum(successes[: turn + 1]), sum(k[: turn + 1])
    lost, among = sum(successes[turn + 1 :]), sum(k[turn + 1 :])
    low = newcombe(won, of, lost, among)[0] if among else wilson(won, of)[0]
    if low <= margin:
        return None
    return FirstError(turn, won / of - (lost / among if among else 0.0))


def newcombe(won: int, of: int, lost: int, among: int, z: float = Z) -> tuple[float, float]:
    """Interval of the difference of two shares, won/of - lost/among, from their Wilson intervals.

    Source: Newcombe (1998), Statistics in Medicine 17, method 10.
    """
    p, q = won / of, lost / among
    (p_low, p_high), (q_low, q_high) = wilson(won, of, z), wilson(lost, among, z)
    low = p - q - math.hypot(p - p_low, q_high - q)
    high = p - q + math.hypot(p_high - p, q - q_low)
    return low, high


def wilson(won: int, of: int, z: float = Z) -> tuple[float, float]:
    """Wilson's interval of a share."""
    share = won / of
    centre = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, centre - half), min(1.0, centre + half)


def _log_likelihood(won: int, of: int) -> float:
    if not of:
        return 0.0
    share = won / of
    return sum(n * math.log(p) for n, p in ((won, share), (of - won, 1 - share)) if n)
