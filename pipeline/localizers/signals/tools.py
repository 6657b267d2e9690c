"""What a tool answers to the step: what follows a message tells as much of it as its own words.

`error_next` marks a message whose tool run failed (a traceback, an exit code other than 0), `first_error_next` the
first of them; `runs_next` a run without an error, `silent_next` one that printed next to nothing; `error_before` a
message that follows a failure. `errors_earlier` and `errors_later` are log(1 + failures before, after).

Status: ours. Degenerate: a log without a tool's messages is 0 throughout. Cost: regular expressions over the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from apportion.pipeline.localizers.signals.base import first_of, from_text, is_idle, is_tool
from apportion.pipeline.trajectory.case import Case

FAILED = re.compile(r"Traceback \(most recent|exitcode: [1-9]|execution failed|\b[A-Z]\w*(?:Error|Exception):")
_SILENT = 130
COLUMNS = (
    "error_next", "first_error_next", "runs_next", "silent_next", "error_before", "errors_earlier", "errors_later",
)  # fmt: skip


def _read(case: Case) -> Sequence[Iterable[float]]:
    steps = case.steps
    tool = [is_tool(step) for step in steps]
    ran = [here and not is_idle(step) for here, step in zip(tool, steps, strict=True)]
    failed = [here and FAILED.search(step.text) is not None for here, step in zip(ran, steps, strict=True)]
    fine = [here and not bad for here, bad in zip(ran, failed, strict=True)]
    silent = [here and len(step.text) < _SILENT for here, step in zip(fine, steps, strict=True)]
    after = np.cumsum(failed)
    talk = ~np.array(tool, dtype=bool)
    next_failed = _shift(failed, tool)
    return [
        map(float, next_failed),
        first_of(next_failed),
        map(float, _shift(fine, tool)),
        map(float, _shift(silent, tool)),
        [float(i > 0 and failed[i - 1] and not tool[i]) for i in range(len(steps))],
        np.log1p(after - failed) * talk,
        np.log1p(sum(failed) - after) * talk,
    ]


def _shift(flags: Sequence[bool], tool: Sequence[bool]) -> list[bool]:
    """Whether the flag holds of the next step, for messages that are no tool's."""
    return [not here and following for here, following in zip(tool, [*flags[1:], False], strict=True)]


signal = from_text("tools", COLUMNS, _read)
