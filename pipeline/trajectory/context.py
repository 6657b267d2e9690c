"""What was in view when a message was written: the one way to read the column `context`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def context_of(row: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Message indices that were in view when `row` was written, in order.

    Null stands for what every imported log means: all earlier messages, less the system prompts of other agents. It
    keeps a log's size linear in its length. `messages` are the rows of the trajectory.
    """
    stored = row.get("context")
    if stored is not None:
        return [int(index) for index in stored]
    return [
        int(past["message_index"])
        for past in messages
        if past["message_index"] < row["message_index"] and (past["kind"] != "system" or past["agent"] == row["agent"])
    ]
