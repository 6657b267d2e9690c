"""A softmax ranker over the options of a case: which step is the decisive one, or which agent is to blame.

p(option i | case) = exp(w . x_i) / sum_j exp(w . x_j), fitted by maximum likelihood with a Gaussian prior on w
(`l2` is its precision, for columns scaled to unit spread): a conditional logit with a handful of weights.

Status: source for the model (McFadden 1974, conditional logit), ours for its use here.
Degenerate: a case whose answer is not among its options teaches nothing and is left out; without cases all weights
are 0 and every option is equally likely. Cost: Newton steps on a convex function, milliseconds for hundreds of cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.evaluation.folds import by_fold, folds_by_question
from apportion.pipeline.evaluation.metrics import harmonic
from apportion.pipeline.localizers.base import Floats
from apportion.pipeline.trajectory.case import Case

_STEPS = 50
_TOLERANCE = 1e-10
_MEMBERS = 30
_SHARE = 0.25


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


def fit(cases: Sequence[Options], l2: float = 1.0) -> Ranker:
    """The ranker that makes the chosen options likeliest. Columns must be finite and the same in every case."""
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

    def loss_and_p(at: Floats) -> tuple[float, Floats]:
        scores = rows @ at
        scores = scores - np.maximum.reduceat(scores, starts)[case]
        odds = np.exp(scores)
        total = np.add.reduceat(odds, starts)
        loss = float((np.log(total) - scores[chosen]).sum() + 0.5 * at @ (l2 * at))
        return loss, odds / total[case]

    loss, p = loss_and_p(beta)
    for _ in range(_STEPS):
        mean = np.add.reduceat(p[:, None] * rows, starts)
        gradient = l2 * beta - (rows[chosen] - mean).sum(0)
        centred = rows - mean[case]
        hessian = centred.T @ (p[:, None] * centred) + (l2 + 1e-9) * np.eye(columns)
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


def fit_averaged(cases: Sequence[Options], l2: float, always: NDArray[np.bool_]) -> Ranker:
    """One ranker from many small ones: each sees the columns that are `always` in and a random part of the others, and
    their weights are averaged.

    With a hundred logs and fifty columns, columns that tell nearly the same thing take weight from each other almost at
    random. A member that sees few of them at a time gives each the weight it deserves nearly alone; the mean over
    members keeps that and is again one weight per column. What is `always` in says what kind of step it is, and the
    others are only comparable given that.

    Status: source for averaging over random parts of the columns (random subspace method, Ho 1998), ours for
    conditional logits. Degenerate: too few columns to draw from are a single ordinary fit; without cases all weights
    are 0. Cost: 30 fits; the parts are drawn by a fixed seed, so the same cases give the same weights.
    """
    weights = np.zeros(len(always))
    core, rest = np.flatnonzero(always), np.flatnonzero(~always)
    drawn = round(_SHARE * len(rest))
    members = _MEMBERS if drawn else 1
    rng = np.random.default_rng(0)
    for _ in range(members):
        columns = np.sort(np.concatenate([core, rng.permutation(rest)[:drawn]]))
        weights[columns] += fit([replace(one, x=one.x[:, columns]) for one in cases], l2).weights
    return Ranker(weights / members)


FOLDS = 5
Row = tuple[Case, Floats, int | None]
"""A case, the columns of its options, and the place of the labelled one."""


@dataclass(frozen=True)
class Setting:
    """`l2` is the ranker's prior. `by_kind`: besides its weights it has a second set for each kind of log, which the
    prior holds near 0."""

    l2: float
    by_kind: bool = False


SETTINGS = tuple(Setting(l2, by_kind) for by_kind in (False, True) for l2 in (30.0, 10.0, 3.0, 1.0))


@dataclass(frozen=True)
class Chosen:
    """A fitted ranker: how it was set, and the kinds of log that it has weights for."""

    setting: Setting
    sources: tuple[str, ...]
    ranker: Ranker

    def log_p(self, case: Case, x: Floats) -> Floats:
        """log p(option), shape (options,). A kind of log that was not in training gets the shared weights."""
        return self.ranker.log_p(_widened(x, case.source, self.setting, self.sources))


def fit_chosen(cases: Sequence[Case], x: Sequence[Floats], chosen: Sequence[int | None]) -> tuple[Chosen, list[Floats]]:
    """The ranker of the best setting, and for each training case log p by a ranker that has not seen its question.

    `x` of shape (options, columns) per case; `chosen` the labelled option's place. Settings (how much to shrink, and
    what kinds of log share) are compared by the log-likelihood of the labelled option over folds by question, so the
    choice never sees the cases that the result is judged on.

    Status: ours. Degenerate: fewer than two questions leave nothing to compare on: the first setting is taken.
    Cost: settings x folds fits.
    """
    rows = list(zip(cases, x, chosen, strict=True))
    sources = tuple(sorted({case.source for case in cases}))
    settings = [setting for setting in SETTINGS if len(sources) > 1 or not setting.by_kind]
    if len({case.question_id for case in cases}) < 2:
        only = _fit(rows, settings[0], sources)
        return only, _log_p(only, rows)
    folds = folds_by_question(cases, FOLDS)

    def judged_by(setting: Setting) -> list[Floats]:
        return by_fold(rows, folds, lambda train, rest: _log_p(_fit(train, setting, sources), rest))

    unseen = {setting: judged_by(setting) for setting in settings}
    best = max(settings, key=lambda setting: _likelihood(unseen[setting], chosen))
    return _fit(rows, best, sources), unseen[best]


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
    f1 = harmonic((none & sound).sum(1) / sound.sum(), (~none & hit).sum(1) / (~sound).sum())
    return float(shifts[f1.argmax()]) if f1.max() > 0 else 0.0


def _fit(rows: Sequence[Row], setting: Setting, sources: tuple[str, ...]) -> Chosen:
    options = [Options(_widened(x, case.source, setting, sources), place) for case, x, place in rows]
    return Chosen(setting, sources, fit(options, setting.l2))


def _log_p(fitted: Chosen, rows: Sequence[Row]) -> list[Floats]:
    return [fitted.log_p(case, x) for case, x, _ in rows]


def _likelihood(log_p: Sequence[Floats], chosen: Sequence[int | None]) -> float:
    return sum(float(one[place]) for one, place in zip(log_p, chosen, strict=True) if place is not None)


def _widened(x: Floats, source: str, setting: Setting, sources: tuple[str, ...]) -> Floats:
    """The columns, and with `by_kind` a copy of them for each kind of log, 0 but in its own."""
    if not setting.by_kind:
        return x
    return np.concatenate([x, *(x if source == one else np.zeros_like(x) for one in sources)], axis=1)
