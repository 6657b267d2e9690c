"""The turns of workers whom an orchestrator sends out: which turn it is, and what they do in a browser.

A worker is an agent that some message addresses. `worker` marks its messages, `turn_1` to `turn_4` the log's first
four of them, `turn` is log(1 + worker messages before), `last_turn` marks the last. `searches`, `clicks` and `scrolls`
tell what a browsing worker says it did, `same_page` that it stands on a page where it stood before.

Status: ours, for teams in the manner of Magentic-One. Degenerate: where nobody is addressed all columns are 0.
Cost: regular expressions over the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from apportion.pipeline.localizers.signals.base import from_text
from apportion.pipeline.trajectory.case import Case

_PAGE = re.compile(r"\]\((https?://[^)\s]+)")
_OPENING = 60
COLUMNS = (
    "worker", "turn_1", "turn_2", "turn_3", "turn_4", "turn", "last_turn", "searches", "clicks", "scrolls", "same_page",
)  # fmt: skip


def workers(case: Case) -> list[bool]:
    """Which steps are spoken by an agent that is addressed somewhere in the log."""
    addressed = {step.recipient for step in case.steps if step.recipient}
    return [step.agent in addressed for step in case.steps]


def _read(case: Case) -> Sequence[Iterable[float]]:
    worker = np.array(workers(case), dtype=float)
    before = np.cumsum(worker) - worker
    pages = [_PAGE.search(step.text) if here else None for here, step in zip(worker, case.steps, strict=True)]
    seen: set[str] = set()
    same = []
    for page in pages:
        same.append(float(page is not None and page[1] in seen))
        seen |= {page[1]} if page else set()
    openings = [step.text[:_OPENING] if here else "" for here, step in zip(worker, case.steps, strict=True)]
    return [
        worker,
        *(worker * (before == turn) for turn in range(4)),
        worker * np.log1p(before),
        worker * (before == worker.sum() - 1),
        [float("I typed" in opening) for opening in openings],
        [float("I clicked" in opening) for opening in openings],
        [float("I scrolled" in opening) for opening in openings],
        same,
    ]


signal = from_text("turns", COLUMNS, _read)
