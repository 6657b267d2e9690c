"""A trajectory with its messages and its task: which of them are steps, and what was known after each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apportion.pipeline.trajectory.task import Task


@dataclass(frozen=True)
class Log:
    """One trajectory with its messages (rows of `messages`, in order) and its task."""

    trajectory: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]
    task: Task

    @property
    def trajectory_id(self) -> str:
        return str(self.trajectory["trajectory_id"])

    @property
    def turns(self) -> list[int]:
        """Indices of the messages that agents wrote: the steps that can be wrong."""
        return [i for i, row in enumerate(self.messages) if row["role"] == "assistant"]

    def after(self, step: int) -> int:
        """Index at which the next agent's turn stands, or the end."""
        return next((i for i in self.turns if i > step), len(self.messages))

    def known_after(self, step: int) -> list[int]:
        """Indices of what there is once `step` was written: all before it, and what it brought about.

        Of calls that run side by side the turns come first and their tool results after; a result counts as known
        with the turn that asked for it.
        """
        turns = set(self.turns)
        until = max(step + 1, self.after(step))
        known = [i for i in range(until) if i not in turns or i <= step]
        for i in range(until, len(self.messages)):
            row = self.messages[i]
            if i in turns and row["agent_call_id"] == self.messages[step]["agent_call_id"]:
                break
            mine = (row["agent"], row["agent_call_id"]) == (
                self.messages[step]["agent"], self.messages[step]["agent_call_id"],
            )  # fmt: skip
            if row["role"] == "tool" and mine:
                known.append(i)
        return known
