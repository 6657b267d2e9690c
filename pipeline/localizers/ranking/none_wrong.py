"""How much likelier than it scores "no step is wrong" must count, for the best F1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from apportion.pipeline.localizers.base import Floats


def best_shift(scores: Sequence[Floats], right: Sequence[int]) -> float:
    """What to add to the last score of every case so that F1 (`metrics.solutions`) is highest; 0 where it is 0.

    Only the points where a case changes its answer can matter, and the middle between two of them is taken.
    """
    edges = np.array([one[:-1].max(initial=-np.inf) - one[-1] for one in scores])
    sound = np.array([place == len(one) - 1 for one, place in zip(scores, right, strict=True)])
    hit = np.array([one[:-1].argmax() == place for one, place in zip(scores, right, strict=True)])
    points = np.unique(edges[np.isfinite(edges)])
    if not len(points) or sound.all() or not sound.any():
        return 0.0
    shifts = np.concatenate([[points[0] - 1], (points[:-1] + points[1:]) / 2, [points[-1] + 1]])
    none = edges[None, :] < shifts[:, None]
    correct = (none & sound).sum(1) / sound.sum()
    wrong = (~none & hit).sum(1) / (~sound).sum()
    f1 = 2 * correct * wrong / np.maximum(correct + wrong, 1e-12)
    return float(shifts[f1.argmax()]) if f1.max() > 0 else 0.0
