"""Who can be to blame at all: agents. People are not theirs to train, and what a tool prints is its caller's doing.

A person is told by the role "user", by a name that says so ("human", "UserProxy", "end_user", "Customer 2"), or as the
one who asked the question. A tool is told by its role, or by the name of an environment ("Computer_terminal").

Status: ours. Degenerate: where only the asker speaks, and by a name that says nothing of a person, the asker is an
agent that set its own task. Cost: linear in the steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.trajectory.case import Case, Step
from apportion.pipeline.trajectory.people import is_person, name_words

_PLACES = frozenset(
    {
        "tool", "tools", "environment", "env", "shell", "bash", "console", "sandbox", "observation", "code executor",
        "code interpreter", "python interpreter", "python repl",
    }
)  # fmt: skip


def is_place(step: Step) -> bool:
    """Whether a tool or the frame around the team speaks."""
    words = name_words(step.agent)
    return step.role in ("tool", "system") or "terminal" in words or " ".join(words) in _PLACES


def blamable(case: Case) -> NDArray[np.bool_]:
    """Which steps of a log of others may be named, shape (steps,)."""
    able = np.array(
        [step.role != "user" and not is_person(step.agent) and not is_place(step) for step in case.steps], dtype=bool
    )
    others = able & np.array([step.agent != case.asker for step in case.steps], dtype=bool)
    return others if others.any() else able


def may_be_blamed(case: Case) -> NDArray[np.bool_]:
    """Which steps may be named, shape (steps,). In a run of our own every turn is an agent's, whatever its name."""
    if case.log is None or case.log.trajectory["origin"] == "imported":
        return blamable(case)
    turns = set(case.log.turns)
    return np.array([place in turns for place in case.places], dtype=bool)
