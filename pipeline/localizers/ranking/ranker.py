"""A softmax ranker over the options of a case: which step is the decisive one, or which agent is to blame.

p(option i | case) = exp(w . x_i) / sum_j exp(w . x_j), fitted by maximum likelihood with a Gaussian prior on w
(`l2` is its precision, for columns scaled to unit spread): a conditional logit with a handful of weights.

Status: source for the model (McFadden 1974, conditional logit), ours for its use here.
Degenerate: a case whose answer is not among its options teaches nothing and is left out; without cases all weights
are 0 and every option is equally likely. Cost: Newton steps on a convex function, milliseconds for hundreds of cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STEPS = 50
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Options:
    """The options of one case: `x` of shape (options, columns); `chosen` is the right one's place, None unknown."""

    x: Floats
    chosen: int | None = None


@dataclass(frozen=True)
class Ranker:
    """Fitted weights, one a column, for columns as given (the scaling is folded in)."""

    weights: Floats

    def log_p(self, x: Floats) -> Floats:
        """log p(option) of one case, shape (options,)."""
        scores = x @ self.weights
        top = scores.max()
        return np.asarray(scores - top - np.log(np.exp(scores - top).sum()))


def fit(cases: Sequence[Options], l2: float | Floats = 1.0) -> Ranker:
    """The ranker that makes the chosen options likeliest. Columns must be finite and the same in every case.

    `l2` is one precision for all columns or one a column: the larger, the nearer its weight is held to 0.
    """
    known = [one for one in cases if one.chosen is not None]
    columns = cases[0].x.shape[1] if cases else 0
    if not known:
        return Ranker(np.zeros(columns))
    spread = np.concatenate([one.x - one.x.mean(0) for one in known]).std(0)
    scale = np.where(spread > 1e-12, spread, np.inf)
    rows = np.concatenate([one.x / scale for one in known])
    sizes = np.array([len(one.x) for one in known])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    case = np.repeat(np.arange(len(known)), sizes)
    chosen = starts + np.array([one.chosen for one in known])
    beta = np.zeros(columns)
    prior = np.broadcast_to(np.asarray(l2, dtype=float), (columns,))

    def loss_and_p(at: Floats) -> tuple[float, Floats]:
        scores = rows @ at
        scores = scores - np.maximum.reduceat(scores, starts)[case]
        odds = np.exp(scores)
        total = np.add.reduceat(odds, starts)
        loss = float((np.log(total) - scores[chosen]).sum() + 0.5 * at @ (prior * at))
        return loss, odds / total[case]

    loss, p = loss_and_p(beta)
    for _ in range(_STEPS):
        mean = np.add.reduceat(p[:, None] * rows, starts)
        gradient = prior * beta - (rows[chosen] - mean).sum(0)
        centred = rows - mean[case]
        hessian = centred.T @ (p[:, None] * centred) + np.diag(prior + 1e-9)
        step = np.linalg.solve(hessian, gradient)
        slope = float(gradient @ step)
        if slope < _TOLERANCE:
            break
        size = 1.0
        while size > 1e-6:
            tried, p_tried = loss_and_p(beta - size * step)
            if tried <= loss - 1e-4 * size * slope:
                break
            size /= 2
        else:
            break
        beta, loss, p = beta - size * step, tried, p_tried
    return Ranker(beta / scale)
