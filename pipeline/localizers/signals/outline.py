"""The few columns of the log's outline that the learned ranker keeps: where the step stands and how long it is.

Status: ours; a choice from `ranking.columns`, since with a hundred logs every further column costs more
than it tells. Degenerate: see there. Cost: none to speak of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from apportion.pipeline.localizers.ranking.columns import structure
from apportion.pipeline.localizers.signals.base import from_text
from apportion.pipeline.trajectory.case import Case

_KEPT = ("start", "place", "first", "last", "length", "length_in_log")


def _read(case: Case) -> Sequence[Iterable[float]]:
    names, table = structure(case)
    return [table[:, names.index(name)] for name in _KEPT]


signal = from_text("outline", _KEPT, _read)
