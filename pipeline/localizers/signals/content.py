"""How a message speaks: code, hedging, invented data, plans, questions, conclusions, doubt.

Word counts are log(1 + matches), 0 in a tool's output. `code` marks a code block and `first_code` the log's first;
`hedge` counts words of assumption, `first_hedge` marks the first after the opening; `invented` marks placeholders,
mock or simulated data; `doubted` is the most doubt in the two messages that follow; `idle` marks a message that says
nothing of the task.

Status: ours. Degenerate: another language than English has no words to count; the columns are 0. Cost: regular
expressions over the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from apportion.pipeline.localizers.signals.base import counts, first_of, from_text, is_idle, is_tool
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

COLUMNS = (
    "idle", "code", "first_code", "hedge", "first_hedge", "invented", "first_invented", "concludes", "asks", "plans",
    "doubts", "doubted", "lacks",
)  # fmt: skip


def _read(case: Case) -> Sequence[Iterable[float]]:
    steps = case.steps
    said = [not is_tool(step) for step in steps]
    code = [here and "```" in step.text for here, step in zip(said, steps, strict=True)]
    hedge, doubts, invented = counts(HEDGE, case), counts(DOUBTS, case), counts(INVENTED, case)
    return [
        [float(is_idle(step)) for step in steps],
        [float(here) for here in code],
        first_of(code),
        hedge,
        first_of([i > 0 and count > 0 for i, count in enumerate(hedge)]),
        [float(count > 0) for count in invented],
        first_of([i > 0 and count > 0 for i, count in enumerate(invented)]),
        counts(CONCLUDES, case),
        counts(ASKS, case),
        counts(PLANS, case),
        doubts,
        [max(doubts[i + 1 : i + 3], default=0.0) for i in range(len(steps))],
        counts(LACKS, case),
    ]


signal = from_text("content", COLUMNS, _read)
