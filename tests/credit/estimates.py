"""What a plan of permutations says of games, with its interval, put together from its parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.credit import permutation


@dataclass(frozen=True, eq=False)
class Estimate:
    """Arrays of shape (G, n)."""

    credit: NDArray[np.float64]
    stderr: NDArray[np.float64]
    ci_low: NDArray[np.float64]
    ci_high: NDArray[np.float64]


def estimated(values_GM: NDArray[np.float64], plan: permutation.Plan) -> Estimate:
    """Of games valued on the coalitions of one plan, columns as in `plan.masks`."""
    credit = values_GM @ permutation.weights(plan)
    stderr = np.sqrt(permutation.pair_variance(values_GM, plan))
    half = stderr * permutation.critical(plan.pairs)
    return Estimate(credit, stderr, credit - half, credit + half)
