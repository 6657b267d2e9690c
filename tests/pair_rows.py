"""Small hand-made tables of one failed rollout, for the tests of pairs and of what is exported."""

from __future__ import annotations

from typing import Any

import polars as pl

from apportion.schemas import TABLES

QUESTION = "In which town does the owner of the Blue Lantern live?"
WORSE = "ask homes: Where does Nell Birch live?"
BETTER = "ask homes: Where does Tom Sedge live?"
SPOKEN = [
    {"agent": "planner", "role": "system", "kind": "system", "text": "You plan.", "context": [],
     "examples": '[["Question: Who?", "ask owners: Who?"]]'},
    {"agent": "owners", "role": "system", "kind": "system", "text": "You look up.", "context": []},
    {"agent": "user", "role": "user", "kind": "task", "text": QUESTION, "context": []},
    {"agent": "planner", "role": "assistant", "kind": "message", "text": "ask owners: Who owns it?", "context": [0, 2]},
    {"agent": "owners", "role": "assistant", "kind": "message", "text": "search: owner", "context": [1, 3]},
    {"agent": "owners", "role": "tool", "kind": "tool_result", "text": "Tom Sedge owns it.", "context": []},
    {"agent": "owners", "role": "assistant", "kind": "message", "text": "Tom Sedge.", "context": [1, 3, 4, 5]},
    {"agent": "planner", "role": "assistant", "kind": "message", "text": WORSE, "context": [0, 2, 3, 6]},
]  # fmt: skip
STEP = 7


def frame(name: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(TABLES[name].from_rows(rows))


def tasks(*questions: str) -> pl.DataFrame:
    return frame(
        "tasks",
        [
            {"task_id": f"t{number}", "source": "toy", "question": question, "references": ["Ashby"]}
            for number, question in enumerate(questions or (QUESTION,))
        ],
    )


def trajectories(*ids: str, success: bool = False) -> pl.DataFrame:
    """One rollout of task t0 an id."""
    return frame(
        "trajectories",
        [
            {"trajectory_id": name, "task_id": "t0", "team": "clerks", "origin": "sampled", "outcome": float(success),
             "success": success}
            for name in ids or ("f",)
        ],
    )  # fmt: skip


def messages(*ids: str) -> pl.DataFrame:
    return frame(
        "messages",
        [
            row | {"trajectory_id": name, "task_id": "t0", "message_index": index, "agent_call_id": 0,
                   "is_outcome": False, "policy_id": "p0"}
            for name in ids or ("f",)
            for index, row in enumerate(SPOKEN)
        ],
    )  # fmt: skip


def repair(text: str = BETTER, **changes: Any) -> dict[str, Any]:
    """A confirmed alternative to the planner's last message: 3 of 4 afresh against 1 of 4."""
    return {
        "trajectory_id": "f", "step": STEP, "proposal": "monte_carlo", "alternative_index": 0, "agent": "planner",
        "policy_id": "p0", "text": text, "prompt_ids": [1, 2, 3], "completion_ids": [4, 5], "recorded_ids": [6],
        "selection_k": 1, "selection_successes": 1, "confirmation_k": 4, "confirmation_successes": 3,
        "baseline_k": 4, "baseline_successes": 1, "source_trajectory_id": "j1",
    } | changes  # fmt: skip


def repairs(*rows: dict[str, Any]) -> pl.DataFrame:
    return frame("repairs", list(rows))
