"""From the values of growing prefixes to the first error; "not found" is an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from apportion.pipeline.core.intervals import wilson
from apportion.pipeline.localizers.base import Verdict, by_step
from apportion.pipeline.trajectory.blamable import may_be_blamed
from apportion.pipeline.trajectory.case import Case

VERSION = 2
"""Goes up when the same values give another first error, so that what stands by the older rule is made anew."""
NO_FALL = "the value falls nowhere beyond the margin"


@dataclass(frozen=True)
class FirstError:
    """`turn`: place among the log's turns. `fall`: how far the value falls there, in [0, 1]."""

    turn: int
    fall: float


def at_first_error(
    case: Case, error: FirstError | None, values: Sequence[float | None], none: float = -np.inf, **more: Any
) -> Verdict:
    """The verdict of values on prefixes: the first error before all else, then turns by the fall of the value there.

    `values`: V(h_0), ..., V(h_T) of the turns of the case's log. What may not be blamed, and what is no turn, has
    minus infinity.
    """
    assert case.log is not None
    falls = {
        turn: -np.inf if before is None or after is None else before - after
        for turn, (before, after) in zip(case.log.turns, pairwise(values), strict=True)
    }
    if error is not None:
        falls[case.log.turns[error.turn]] = 1.0 + error.fall  # above any other fall
    able = may_be_blamed(case)
    scores = [falls.get(place, -np.inf) if may else -np.inf for place, may in zip(case.places, able, strict=True)]
    confidence, reason = (error.fall, None) if error is not None else (None, NO_FALL)
    return by_step(
        case, np.array(scores, dtype=float), none=none, values=values, confidence=confidence, reason=reason, **more
    )


def first_fall(values: Sequence[float], margin: float, able: Sequence[bool] | None = None) -> FirstError | None:
    """The first turn t with V(h_t) < V(h_{t-1}) - margin, for values without sampling error.

    `values`: V(h_0), ..., V(h_T), one more than there are turns. `able`: which turns may be named; all by default.
    Status: source (process rewards).
    """
    for turn, (before, after) in enumerate(pairwise(values)):
        if after < before - margin and (able is None or able[turn]):
            return FirstError(turn, min(1.0, before - after))
    return None


def change_point(successes: Sequence[int], k: Sequence[int], margin: float) -> FirstError | None:
    """The turn at which a success share falls, from binomial counts of the prefixes h_0, ..., h_{T-1} of a failure.

    Every turn t splits the prefixes into those before it (h_0 .. h_{t-1}, share p) and those after it (h_t .. h_{T-1},
    share q; the end h_T is a failure for certain). With nothing known of p and q (uniform on [0, 1], independent) a
    split's probability of the counts is B(w+1, n-w+1) B(l+1, m-l+1), for w successes of n before it and l of m after;
    of the turns at which the share falls the most probable is taken, the earliest among equals. Since both shares are
    integrated out, a split that explains no more than one share for all prefixes loses to it: the last turn.
    It stands when the share before it lies above `margin` with its Wilson interval, 95 %: a run that could hardly be
    won before has no decisive error. What a repair is worth is measured on fresh continuations.
    Comparing single neighbours instead would need about 8 rollouts a prefix before any fall stands out.
    Source: the posterior of a change point with conjugate priors is standard (Smith 1975, Biometrika 62); the reading
    as first error is ours. Degenerate: no success anywhere gives None. A prefix without verdicts (k = 0) says nothing.
    """
    best: tuple[float, int] | None = None
    for turn in range(len(successes)):
        won, of = sum(successes[: turn + 1]), sum(k[: turn + 1])
        lost, among = sum(successes[turn + 1 :]), sum(k[turn + 1 :])
        if not won or (among and won * among <= lost * of):
            continue
        likelihood = _log_evidence(won, of) + _log_evidence(lost, among)
        if best is None or likelihood > best[0] + 1e-9:
            best = likelihood, turn
    if best is None:
        return None
    turn = best[1]
    won, of = sum(successes[: turn + 1]), sum(k[: turn + 1])
    lost, among = sum(successes[turn + 1 :]), sum(k[turn + 1 :])
    if wilson(won, of)[0] <= margin:
        return None
    return FirstError(turn, won / of - (lost / among if among else 0.0))


def _log_evidence(won: int, of: int) -> float:
    """log of the probability of `won` successes in `of` trials, in their order, with a share uniform on [0, 1]."""
    return math.lgamma(won + 1) + math.lgamma(of - won + 1) - math.lgamma(of + 2)
