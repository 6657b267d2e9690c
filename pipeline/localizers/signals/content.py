"""How a message speaks: code, hedging, invented data, plans, questions, doubt; and what a tool answers to it.

Word counts are log(1 + matches), 0 in a tool's output. `code` marks a code block and `first_code` the log's first;
`hedge` counts words of assumption, `first_hedge` marks the first after the opening; `invented` marks placeholders,
mock or simulated data; `doubted` is the most doubt in the two messages that follow; `idle` marks a message that says
nothing of the task.

`error_next` marks a message whose tool run failed (a traceback, an exit code other than 0), `first_error_next` the
first of them; `runs_next` a run without an error, `silent_next` one that printed next to nothing; `error_before` a
message that follows a failure. `errors_earlier` and `errors_later` are log(1 + failures before, after).

Status: ours. Degenerate: another language than English has no words to count, and a log without a tool's messages none
of its answers; the columns are 0. Cost: regular expressions over the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from apportion.pipeline.localizers.signals.base import Columns, Signal, counts, first_of, is_idle, is_tool
from apportion.pipeline.trajectory.case import Case

HEDGE = re.compile(
    r"\bassum\w+|placeholder|hypothetical|simulat\w+|\bmock|\bsample data|\bdummy|general knowledge|for (?:the sake of|"
    r"demonstration|example purposes)|\btypical(?:ly)?|let['’]s (?:say|suppose|consider)|replace (?:this|with|the)|"
    r"your_|example\.com|manual(?:ly)?|approximat\w+|estimat\w+|likely|probably|based on (?:my|our) knowledge|known",
    re.I,
)
INVENTED = re.compile(
    r"placeholder|\bmock|simulat\w+|\bdummy|sample data|hypothetical|example data|your_|\bassum\w+", re.I
)
CONCLUDES = re.compile(
    r"therefore|thus\b|hence\b|conclu\w+|final (?:answer|result|output)|confirm\w*|verified|is correct|in summary|"
    r"the answer",
    re.I,
)
ASKS = re.compile(r"please (?:provide|share|confirm|verify|execute|let me know)|could you|can you|\?\s*$", re.I | re.M)
PLANS = re.compile(
    r"to (?:solve|address|verify|determine|find|answer)|we (?:will|need to|should)|steps?:|let['’]s (?:start|begin|"
    r"proceed)|step 1|first,",
    re.I,
)
DOUBTS = re.compile(
    r"however|incorrect|mistake|wrong|\bissue|problem with|discrepan\w+|\bfix|apolog\w+|instead|it (?:seems|appears|"
    r"looks)|unfortunately|reassess|re-?evaluat|revis",
    re.I,
)
LACKS = re.compile(
    r"\berror\b|unable to|could ?n[o']t|cannot|can't|failed to|no results|not found|timed? ?out|404", re.I
)
FAILED = re.compile(r"Traceback \(most recent|exitcode: [1-9]|execution failed|\b[A-Z]\w*(?:Error|Exception):")
_SILENT = 130


def _content(case: Case) -> Columns:
    steps = case.steps
    said = [not is_tool(step) for step in steps]
    code = [here and "```" in step.text for here, step in zip(said, steps, strict=True)]
    hedge, doubts, invented = counts(HEDGE, case), counts(DOUBTS, case), counts(INVENTED, case)
    return {
        "idle": map(is_idle, steps),
        "code": code,
        "first_code": first_of(code),
        "hedge": hedge,
        "first_hedge": first_of([i > 0 and count > 0 for i, count in enumerate(hedge)]),
        "invented": [count > 0 for count in invented],
        "first_invented": first_of([i > 0 and count > 0 for i, count in enumerate(invented)]),
        "concludes": counts(CONCLUDES, case),
        "asks": counts(ASKS, case),
        "plans": counts(PLANS, case),
        "doubts": doubts,
        "doubted": [max(doubts[i + 1 : i + 3], default=0.0) for i in range(len(steps))],
        "lacks": counts(LACKS, case),
    }


def _tools(case: Case) -> Columns:
    steps = case.steps
    tool = [is_tool(step) for step in steps]
    ran = [here and not is_idle(step) for here, step in zip(tool, steps, strict=True)]
    failed = [here and FAILED.search(step.text) is not None for here, step in zip(ran, steps, strict=True)]
    fine = [here and not bad for here, bad in zip(ran, failed, strict=True)]
    silent = [here and len(step.text) < _SILENT for here, step in zip(fine, steps, strict=True)]
    after = np.cumsum(failed)
    talk = ~np.array(tool, dtype=bool)
    next_failed = _shift(failed, tool)
    return {
        "error_next": next_failed,
        "first_error_next": first_of(next_failed),
        "runs_next": _shift(fine, tool),
        "silent_next": _shift(silent, tool),
        "error_before": [i > 0 and failed[i - 1] and not tool[i] for i in range(len(steps))],
        "errors_earlier": np.log1p(after - failed) * talk,
        "errors_later": np.log1p(sum(failed) - after) * talk,
    }


def _shift(flags: Sequence[bool], tool: Sequence[bool]) -> list[bool]:
    """Whether the flag holds of the next step, for messages that are no tool's."""
    return [not here and following for here, following in zip(tool, [*flags, False][1:], strict=True)]


content = Signal("content", _content)
tools = Signal("tools", _tools)
