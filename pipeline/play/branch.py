"""Rollouts that branch from a recorded trajectory, at an exact prefix of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apportion.pipeline.core.ids import digest, seed_of
from apportion.pipeline.play.play import Rollout
from apportion.pipeline.teams.base import Scripted
from apportion.pipeline.trajectory.log import Log


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
