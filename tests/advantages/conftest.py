"""Small runs, written down as who spoke in which rollout and how it went."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
import pytest

from apportion.pipeline.advantages.base import Inputs

ROLES = {"ann": "planner", "bob": "worker", "cid": "worker"}


@pytest.fixture(scope="session")
def run_of() -> Callable[..., Inputs]:
    """`run_of({"t1": (outcome, "ann bob ann")}, group={...}, tools={(trajectory, index): valid})`.

    The words are the speakers in order; every trajectory starts with a task message at index 0. `untrained` leaves
    messages out of training.
    """

    def build(
        rollouts: Mapping[str, tuple[float, str]],
        group: Mapping[str, str | None] | None = None,
        tools: Mapping[tuple[str, int], bool] | None = None,
        untrained: Sequence[tuple[str, int]] = (),
        **more: Any,
    ) -> Inputs:
        trajectories = pl.DataFrame(
            [
                {"trajectory_id": t, "group_id": (group or {}).get(t, "g"), "outcome": r, "success": r >= 0.5}
                for t, (r, _) in rollouts.items()
            ],
            schema={
                "trajectory_id": pl.String,
                "group_id": pl.String,
                "outcome": pl.Float64,
                "success": pl.Boolean,
            },
        )
        messages = []
        for t, (_, speakers) in rollouts.items():
            for index, agent in enumerate(["task", *speakers.split()]):
                valid = (tools or {}).get((t, index))
                messages.append(
                    {
                        "trajectory_id": t, "message_index": index, "agent": agent,
                        "role": "assistant" if index else "user",
                        "tool_valid": valid, "trainable": index > 0 and (t, index) not in untrained,
                    }
                )  # fmt: skip
        columns = {
            "trajectory_id": pl.String, "message_index": pl.Int32, "agent": pl.String, "role": pl.String,
            "tool_valid": pl.Boolean, "trainable": pl.Boolean,
        }  # fmt: skip
        frame = pl.DataFrame(messages, schema=columns)
        return Inputs(trajectories=trajectories, messages=frame, team_roles=more.pop("team_roles", ROLES), **more)

    return build


@pytest.fixture(scope="session")
def credits_of() -> Callable[..., pl.DataFrame]:
    """`credits_of({"t1": {"bob": (credit, loo)}})` in the columns of the table."""

    def build(credits: Mapping[str, Mapping[str, tuple[float | None, float | None]]]) -> pl.DataFrame:
        return pl.DataFrame(
            [
                {"game_id": f"v{t}", "trajectory_id": t, "player": agent, "role": None, "credit": credit, "loo": loo}
                for t, agents in credits.items()
                for agent, (credit, loo) in agents.items()
            ],
            schema={
                "game_id": pl.String, "trajectory_id": pl.String, "player": pl.String, "role": pl.String,
                "credit": pl.Float64, "loo": pl.Float64,
            },
        )  # fmt: skip

    return build


@pytest.fixture(scope="session")
def of() -> Callable[..., dict[tuple[str, int], Any]]:
    """`of(table, column)`: (trajectory, message index) -> value."""

    def read(table: pl.DataFrame, column: str = "advantage") -> dict[tuple[str, int], Any]:
        return {(row["trajectory_id"], row["message_index"]): row[column] for row in table.iter_rows(named=True)}

    return read
