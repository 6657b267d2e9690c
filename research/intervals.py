"""Bootstrap intervals that the benchmarks share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000


def interval(groups: Sequence[NDArray[np.float64]], seed: int = 0) -> str:
    """Mean of all values and its 95 % bootstrap interval: groups (seeds, runs) are drawn, then values within them."""
    rng = np.random.default_rng(seed)
    means = np.empty(DRAWS)
    for draw in range(DRAWS):
        chosen = rng.integers(len(groups), size=len(groups))
        means[draw] = np.concatenate([rng.choice(groups[i], len(groups[i])) for i in chosen]).mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{np.concatenate(groups).mean():+.3f} [{low:+.3f}, {high:+.3f}]"
