"""A ranker whose settings are chosen inside the training cases: how much to shrink, and what kinds of log share.

Settings are compared by the log-likelihood of the labelled option over folds by question, so the choice never sees the
cases that the result is judged on. The same folds give scores of the training cases by rankers that did not see them.

Status: ours. Degenerate: fewer than two questions leave nothing to compare on: the first setting is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.evaluation.folds import folds_by_question
from apportion.pipeline.localizers.ranking import ranker
from apportion.pipeline.localizers.ranking.ranker import Options, Ranker
from apportion.pipeline.trajectory.case import Case

Floats = NDArray[np.float64]

FOLDS = 5


@dataclass(frozen=True)
class Setting:
    """`l2` is the ranker's prior. `share`: one ranker for all kinds of log ("all"), or besides its weights a second set
    for each kind, which the prior holds near 0 ("partly")."""

    l2: float
    share: str = "all"


SETTINGS = tuple(Setting(l2, share) for share in ("all", "partly") for l2 in (30.0, 10.0, 3.0, 1.0))


@dataclass(frozen=True)
class Chosen:
    """A fitted ranker: how it was set, and the kinds of log that it has weights for."""

    setting: Setting
    sources: tuple[str, ...]
    ranker: Ranker

    def log_p(self, case: Case, x: Floats) -> Floats:
        """log p(option), shape (options,). A kind of log that was not in training gets the shared weights."""
        return self.ranker.log_p(_widened(x, case.source, self.setting, self.sources))


def fit(
    cases: Sequence[Case],
    x: Sequence[Floats],
    chosen: Sequence[int | None],
    settings: Sequence[Setting] = SETTINGS,
) -> tuple[Chosen, list[Floats]]:
    """The ranker of the best setting, and for each training case log p by a ranker that has not seen its question.

    `x` of shape (options, columns) a case; `chosen` the labelled option's place. Cost: settings x folds fits.
    """
    sources = tuple(sorted({case.source for case in cases}))
    if len(sources) < 2:  # nothing to share
        settings = [setting for setting in settings if setting.share == "all"] or settings
    if len({case.question_id for case in cases}) < 2:
        only = _fit(cases, x, chosen, settings[0], sources)
        return only, [only.log_p(case, rows) for case, rows in zip(cases, x, strict=True)]
    folds = folds_by_question(cases, FOLDS)
    unseen = {setting: _out_of_fold(cases, x, chosen, setting, sources, folds) for setting in settings}
    best = max(settings, key=lambda setting: _likelihood(unseen[setting], chosen))
    return _fit(cases, x, chosen, best, sources), unseen[best]


def _fit(
    cases: Sequence[Case], x: Sequence[Floats], chosen: Sequence[int | None], setting: Setting, sources: tuple[str, ...]
) -> Chosen:
    options = [
        Options(_widened(rows, case.source, setting, sources), place)
        for case, rows, place in zip(cases, x, chosen, strict=True)
    ]
    return Chosen(setting, sources, ranker.fit(options, setting.l2))


def _out_of_fold(
    cases: Sequence[Case],
    x: Sequence[Floats],
    chosen: Sequence[int | None],
    setting: Setting,
    sources: tuple[str, ...],
    folds: Sequence[int],
) -> list[Floats]:
    fitted: Mapping[int, Chosen] = {
        fold: _fit(*_without(fold, folds, cases, x, chosen), setting, sources) for fold in set(folds)
    }
    return [fitted[fold].log_p(case, rows) for fold, case, rows in zip(folds, cases, x, strict=True)]


def _without(
    fold: int, folds: Sequence[int], cases: Sequence[Case], x: Sequence[Floats], chosen: Sequence[int | None]
) -> tuple[list[Case], list[Floats], list[int | None]]:
    kept = [i for i, one in enumerate(folds) if one != fold]
    return [cases[i] for i in kept], [x[i] for i in kept], [chosen[i] for i in kept]


def _likelihood(log_p: Sequence[Floats], chosen: Sequence[int | None]) -> float:
    return sum(float(one[place]) for one, place in zip(log_p, chosen, strict=True) if place is not None)


def _widened(x: Floats, source: str, setting: Setting, sources: tuple[str, ...]) -> Floats:
    """The columns, and with `share` "partly" a copy of them for each kind of log, 0 but in its own."""
    if setting.share == "all":
        return x
    return np.concatenate([x, *(x if source == one else np.zeros_like(x) for one in sources)], axis=1)
