"""Ground truth for the credit tests: Shapley values as the definition says, order by order."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

Reference = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@pytest.fixture(scope="session")
def by_definition() -> Reference:
    """Mean marginal contribution over all n! orders, of games given as (G, 2**n)."""

    def reference(values_GS: NDArray[np.float64]) -> NDArray[np.float64]:
        n = values_GS.shape[1].bit_length() - 1
        orders = list(permutations(range(n)))
        credit = np.zeros((len(values_GS), n))
        for order in orders:
            mask = 0
            for player in order:
                credit[:, player] += values_GS[:, mask | (1 << player)] - values_GS[:, mask]
                mask |= 1 << player
        return credit / len(orders)

    return reference
