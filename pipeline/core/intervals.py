"""Intervals of a share."""

from __future__ import annotations

import math

Z = 1.959963984540054
"""Standard errors of a 95 % interval."""


def wilson(won: int, of: int, z: float = Z) -> tuple[float, float]:
    """Wilson's interval of a share."""
    share = won / of
    centre = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, centre - half), min(1.0, centre + half)
