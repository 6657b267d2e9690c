"""A failed trajectory as the failure branch sees it, and the rollouts that branch from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apportion.pipeline.core.ids import digest, seed_of
from apportion.pipeline.play.play import Rollout
from apportion.pipeline.teams.base import Scripted
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


def branch(
    log: Log,
    step: int,
    arm: str,
    number: int,
    seed: int,
    *,
    text: str | None = None,
    repeat: bool = False,
    origin: str = "",
    removed: tuple[str, ...] = (),
) -> Rollout:
    """Continuation `number` of a log from the exact prefix before `step`.

    The same agent writes the message at `step` anew; or `text` stands there; or, with `repeat`, the recorded message
    and what it brought about. `arm` names what the continuation is for, and keeps its seeds apart from all others.
    Agents that are `removed` say nothing after the prefix.
    """
    stop = log.after(step) if repeat else step
    script = [_scripted(row) for row in log.messages[:stop]]
    if text is not None:
        row = log.messages[step]
        script.append(Scripted(str(row["agent"]), str(row["role"]), text))
    group = [log.trajectory_id, step, arm, text, repeat, seed, *removed]
    trajectory = "j" + digest([group, number])
    return Rollout(
        task=log.task,
        index=number,
        origin=origin or ("monte_carlo" if repeat or text is None else "repair"),
        trajectory_id=trajectory,
        group_id="g" + digest(group),
        seed=seed_of(seed, trajectory),
        parent=log.trajectory_id,
        branch=stop if repeat else step,
        script=tuple(script),
        removed=removed,
    )


def _scripted(row: Mapping[str, Any]) -> Scripted:
    return Scripted(str(row["agent"]), str(row["role"]), str(row["text"] or ""), row["tool_valid"] is not False)
