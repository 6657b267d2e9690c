"""A ranker whose settings are chosen inside the training cases: how much to shrink, and what kinds of log share.

Settings are compared by the log-likelihood of the labelled option over folds by question, so the choice never sees the
cases that the result is judged on. The same folds give scores of the training cases by rankers that did not see them.

Status: ours. Degenerate: fewer than two questions leave nothing to compare on: the first setting is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def fit(cases: Sequence[Case], x: Sequence[Floats], chosen: Sequence[int | None]) -> tuple[Chosen, list[Floats]]:
    """The ranker of the best setting, and for each training case log p by a ranker that has not seen its question.

    `x` of shape (options, columns) per case; `chosen` the labelled option's place. Cost: settings x folds fits.
    """
    rows = list(zip(cases, x, chosen, strict=True))
    sources = tuple(sorted({case.source for case in cases}))
    settings = [setting for setting in SETTINGS if len(sources) > 1 or setting.share == "all"]
    if len({case.question_id for case in cases}) < 2:
        only = _fit(rows, settings[0], sources)
        return only, [only.log_p(case, columns) for case, columns, _ in rows]
    folds = folds_by_question(cases, FOLDS)
    unseen: dict[Setting, list[Floats]] = {}
    for setting in settings:
        by_fold = {
            fold: _fit([row for row, other in zip(rows, folds, strict=True) if other != fold], setting, sources)
            for fold in set(folds)
        }
        unseen[setting] = [
            by_fold[fold].log_p(case, columns) for fold, (case, columns, _) in zip(folds, rows, strict=True)
        ]
    best = max(settings, key=lambda setting: _likelihood(unseen[setting], chosen))
    return _fit(rows, best, sources), unseen[best]


def _fit(rows: Sequence[tuple[Case, Floats, int | None]], setting: Setting, sources: tuple[str, ...]) -> Chosen:
    options = [Options(_widened(x, case.source, setting, sources), place) for case, x, place in rows]
    return Chosen(setting, sources, ranker.fit(options, setting.l2))


def _likelihood(log_p: Sequence[Floats], chosen: Sequence[int | None]) -> float:
    return sum(float(one[place]) for one, place in zip(log_p, chosen, strict=True) if place is not None)


def _widened(x: Floats, source: str, setting: Setting, sources: tuple[str, ...]) -> Floats:
    """The columns, and with `share` "partly" a copy of them for each kind of log, 0 but in its own."""
    if setting.share == "all":
        return x
    return np.concatenate([x, *(x if source == one else np.zeros_like(x) for one in sources)], axis=1)
