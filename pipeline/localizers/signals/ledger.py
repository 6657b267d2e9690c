"""What an orchestrator's ledger says after a worker's turn: no progress, a loop, the request satisfied.

A ledger is a message with a JSON object of `is_progress_being_made`, `is_in_loop` and `is_request_satisfied`, each
with an `answer`; only the words are looked for, nothing is parsed. A worker's step gets what the next ledger says;
`first_setback` marks the first worker's step without progress or in a loop; `before_stall` marks the steps before the
team first stalls and plans anew. `ledger` and `instructs` mark the orchestrator's own ledgers and instructions.

Status: ours, for teams in the manner of Magentic-One. Degenerate: without ledgers all but `instructs` are 0.
Cost: regular expressions over the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from apportion.pipeline.localizers.signals.base import first_of, from_text
from apportion.pipeline.localizers.signals.turns import workers
from apportion.pipeline.trajectory.case import Case

_ENTRY = r'"%s":\s*\{.{0,2000}?"answer":\s*(true|false)'
_PROGRESS, _LOOP, _SATISFIED = (
    re.compile(_ENTRY % key, re.S) for key in ("is_progress_being_made", "is_in_loop", "is_request_satisfied")
)
_STALL = re.compile(r"\s*(?:Stalled|New plan)")
COLUMNS = ("no_progress", "in_loop", "satisfied", "first_setback", "before_stall", "ledger", "instructs")


def _read(case: Case) -> Sequence[Iterable[float]]:
    worker = workers(case)
    stuck = [here and said is False for here, said in zip(worker, _after(_PROGRESS, case), strict=True)]
    loop = [here and said is True for here, said in zip(worker, _after(_LOOP, case), strict=True)]
    done = [here and said is True for here, said in zip(worker, _after(_SATISFIED, case), strict=True)]
    stall = next((i for i, step in enumerate(case.steps) if _STALL.match(step.text)), 0)
    return [
        map(float, stuck),
        map(float, loop),
        map(float, done),
        first_of([one or other for one, other in zip(stuck, loop, strict=True)]),
        [float(i < stall) for i in range(len(case.steps))],
        [float(_PROGRESS.search(step.text) is not None) for step in case.steps],
        [float(step.recipient is not None) for step in case.steps],
    ]


def _after(pattern: re.Pattern[str], case: Case) -> list[bool | None]:
    """What the next message with the entry says, for every step."""
    result: list[bool | None] = []
    said: bool | None = None
    for step in reversed(case.steps):
        result.append(said)
        found = pattern.search(step.text)
        said = found[1] == "true" if found else said
    return result[::-1]


signal = from_text("ledger", COLUMNS, _read)
