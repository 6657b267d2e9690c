"""One ranker from many small ones: each sees a random part of the columns, and their weights are averaged.

With a hundred logs and fifty columns, columns that tell nearly the same thing take weight from each other almost at
random. A member that sees few of them at a time gives each the weight it deserves nearly alone; the mean over members
keeps that and is again one weight a column. Columns that are `always` in stand in every member: they say what kind of
step it is, and the others are only comparable given that.

Status: source for averaging over random parts of the columns (random subspace method, Ho 1998), ours for conditional
logits. Degenerate: a share of 1 is a single ordinary fit; without cases all weights are 0.
Cost: `members` fits; the parts are drawn by a fixed seed, so the same cases give the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.localizers.ranking.ranker import Options, Ranker, fit

MEMBERS = 30
SHARE = 0.25


def fit_averaged(
    cases: Sequence[Options],
    l2: float,
    always: NDArray[np.bool_],
    share: float = SHARE,
    members: int = MEMBERS,
) -> Ranker:
    """The mean of `members` rankers, each on the columns that are `always` in and a `share` of the others."""
    weights = np.zeros(len(always))
    core, rest = np.flatnonzero(always), np.flatnonzero(~always)
    drawn = round(share * len(rest))
    rng = np.random.default_rng(0)
    for _ in range(members if 0 < drawn < len(rest) else 1):
        columns = np.sort(np.concatenate([core, rng.permutation(rest)[:drawn]]))
        weights[columns] += fit([replace(one, x=one.x[:, columns]) for one in cases], l2).weights
    return Ranker(weights / (members if 0 < drawn < len(rest) else 1))
