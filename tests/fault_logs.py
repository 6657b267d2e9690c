"""Small runs of a planner and a clerk, in which faults are planted."""

from __future__ import annotations

from typing import Any

from apportion.pipeline.faults.faults import Fault, faults, pool
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.trajectory.task import Task


def log(inn: str, owner: str, town: str, changes: dict[int, str] | None = None, name: str = "") -> Log:
    """A planner, a clerk with a register, and a report: messages 0-1 are the system prompts, 2 the task."""
    texts = {
        3: f"ask clerk: Where does {owner}, who owns the {inn}, live?",
        4: f"search: {owner}",
        5: f"{owner} lives in {town}.",
        6: f"{owner} lives in {town}.",
        7: f"answer: {town}",
    } | (changes or {})
    said: list[dict[str, Any]] = [
        row("planner", "system", "system", "lead", []),
        row("clerk", "system", "system", "look up", []),
        row("user", "user", "task", f"In which town does {owner}, who owns the {inn}, live?", []),
        row("planner", "assistant", "message", texts[3], [0, 2], recipient="clerk"),
        row("clerk", "assistant", "message", texts[4], [1, 3], call=1, tool="homes"),
        row("clerk", "tool", "tool_result", texts[5], [], call=1),
        row("clerk", "assistant", "message", texts[6], [1, 3, 4, 5], call=1, recipient="planner"),
        row("planner", "assistant", "message", texts[7], [0, 2, 3, 6], outcome=True),
    ]
    trajectory = {"trajectory_id": name or f"j{owner}", "team": "clerks", "origin": "sampled", "success": True}
    rows = [{**one, "message_index": i} for i, one in enumerate(said)]
    return Log(trajectory, rows, Task("t", "s", "", said[2]["text"], (town,), {}))


def row(
    agent: str, role: str, kind: str, text: str, context: list[int], *,
    call: int = 0, recipient: str | None = None, tool: str | None = None, outcome: bool = False,
) -> dict[str, Any]:  # fmt: skip
    return {
        "agent": agent, "role": role, "kind": kind, "text": text, "context": context, "agent_call_id": call,
        "recipient": recipient, "tool_name": tool, "is_outcome": outcome, "examples": None, "tool_valid": True,
    }  # fmt: skip


NELL = log("Blue Lantern", "Nell Birch", "Farrow")
TOM = log("Old Mitten", "Tom Sedge", "Greyport")


def every(of: Log, seed: int = 0) -> dict[tuple[str, int], Fault]:
    names = pool([NELL, TOM])
    kinds = ("wrong_number", "wrong_tool_input", "dropped_fact", "contradiction")
    return {(one.kind, one.step): one for one in faults(of, names, kinds, 99, seed)}
