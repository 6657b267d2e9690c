"""Who speaks: kinds of agents, turns of workers whom an orchestrator sends out, what its ledger says after them.

The kind of agent is told by its role and by words in its name, so that it carries over to teams never seen: tool,
orchestrator, surfer (works a browser or files), assistant, verifier, expert (anybody else); the user has none of them.

A worker is an agent that some message addresses. `worker` marks its messages, `turn_1` to `turn_4` the log's first
four of them, `turn` is log(1 + worker messages before), `last_turn` marks the last. `searches`, `clicks` and `scrolls`
tell what a browsing worker says it did, `same_page` that it stands on a page where it stood before.

A ledger is a message with a JSON object of `is_progress_being_made`, `is_in_loop` and `is_request_satisfied`, each
with an `answer`; only the words are looked for, nothing is parsed. A worker's step gets what the next ledger says;
`first_setback` marks the first worker's step without progress or in a loop; `before_stall` marks the steps before the
team first stalls and plans anew. `ledger` and `instructs` mark the orchestrator's own ledgers and instructions.

Status: ours; turns and ledgers for teams in the manner of Magentic-One. Degenerate: where nobody is addressed all
columns of the turns are 0, and without ledgers all of the ledger's but `instructs`. Cost: regular expressions.
"""

from __future__ import annotations

import re

import numpy as np

from apportion.pipeline.localizers.signals.base import Columns, Signal, first_of, is_tool
from apportion.pipeline.trajectory.case import Case, Step

ROLES = ("tool", "orchestrator", "surfer", "assistant", "verifier", "expert")
_PAGE = re.compile(r"\]\((https?://[^)\s]+)")
_OPENING = 60
_ENTRY = r'"%s":\s*\{.{0,2000}?"answer":\s*(true|false)'
_PROGRESS, _LOOP, _SATISFIED = (
    re.compile(_ENTRY % key, re.S) for key in ("is_progress_being_made", "is_in_loop", "is_request_satisfied")
)
_STALL = re.compile(r"\s*(?:Stalled|New plan)")


def role_of(step: Step) -> str:
    """One of ROLES, or "user"."""
    name = step.agent.casefold()
    if is_tool(step):
        return "tool"
    if step.role == "user":
        return "user"
    if "orchestrator" in name or "manager" in name:
        return "orchestrator"
    if "surfer" in name:
        return "surfer"
    if name == "assistant":
        return "assistant"
    return "verifier" if "verif" in name or "valid" in name else "expert"


def _roles(case: Case) -> Columns:
    roles = [role_of(step) for step in case.steps]
    return {kind: [role == kind for role in roles] for kind in ROLES}


def workers(case: Case) -> list[bool]:
    """Which steps are spoken by an agent that is addressed somewhere in the log."""
    addressed = {step.recipient for step in case.steps if step.recipient}
    return [step.agent in addressed for step in case.steps]


def _turns(case: Case) -> Columns:
    worker = np.array(workers(case), dtype=float)
    before = np.cumsum(worker) - worker
    pages = [_PAGE.search(step.text) if here else None for here, step in zip(worker, case.steps, strict=True)]
    seen: set[str] = set()
    same = []
    for page in pages:
        same.append(float(page is not None and page[1] in seen))
        seen |= {page[1]} if page else set()
    openings = [step.text[:_OPENING] if here else "" for here, step in zip(worker, case.steps, strict=True)]
    return {
        "worker": worker,
        **{f"turn_{turn + 1}": worker * (before == turn) for turn in range(4)},
        "turn": worker * np.log1p(before),
        "last_turn": worker * (before == worker.sum() - 1),
        "searches": ["I typed" in opening for opening in openings],
        "clicks": ["I clicked" in opening for opening in openings],
        "scrolls": ["I scrolled" in opening for opening in openings],
        "same_page": same,
    }


def _ledger(case: Case) -> Columns:
    worker = workers(case)
    stuck = [here and said is False for here, said in zip(worker, _after(_PROGRESS, case), strict=True)]
    loop = [here and said is True for here, said in zip(worker, _after(_LOOP, case), strict=True)]
    done = [here and said is True for here, said in zip(worker, _after(_SATISFIED, case), strict=True)]
    stall = next((i for i, step in enumerate(case.steps) if _STALL.match(step.text)), 0)
    return {
        "no_progress": stuck,
        "in_loop": loop,
        "satisfied": done,
        "first_setback": first_of([one or other for one, other in zip(stuck, loop, strict=True)]),
        "before_stall": [i < stall for i in range(len(case.steps))],
        "ledger": [_PROGRESS.search(step.text) is not None for step in case.steps],
        "instructs": [step.recipient is not None for step in case.steps],
    }


def _after(pattern: re.Pattern[str], case: Case) -> list[bool | None]:
    """What the next message with the entry says, for every step."""
    result: list[bool | None] = []
    said: bool | None = None
    for step in reversed(case.steps):
        result.append(said)
        found = pattern.search(step.text)
        said = found[1] == "true" if found else said
    return result[::-1]


roles = Signal("roles", _roles)
turns = Signal("turns", _turns)
ledger = Signal("ledger", _ledger)
