"""The reward of an agent's trajectory in three parts: outcome, credit and tools. `sharp` and `shapley` share it."""

from __future__ import annotations

import polars as pl

from apportion.pipeline.advantages.group import compared
from apportion.pipeline.core.errors import UserError

OUTCOME, CREDIT, TOOL = 0.9, 0.9, 0.1
"""Weights of the parts."""
WEIGHTS: dict[str, float | str] = {"outcome": OUTCOME, "credit": CREDIT, "tool": TOOL}
AGENT = ["trajectory_id", "agent"]


def agent_trajectories(method: str, spoken: pl.DataFrame) -> pl.DataFrame:
    """One row per agent that spoke in a trajectory: trajectory_id, agent, role, group, outcome, tool.

    `tool` is the mean validity of the agent's own tool calls in [0, 1], 0 without calls: the messages that
    have a `tool_valid`. Raises UserError for an agent without a role, as roles are what rewards are compared by.
    """
    rows = spoken.group_by(AGENT, maintain_order=True).agg(
        pl.col("role", "group", "outcome").first(),
        tool=pl.col("tool_valid").mean().fill_null(0.0),
    )
    unknown = rows.filter(pl.col("role").is_null())["agent"]
    if len(unknown):
        raise UserError(
            f"advantages {method}: agent {unknown[0]!r} has no role in the team; name it in [[team.agents]]"
        )
    return rows


def by_role(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` (outcome, tool, credit in one row per agent trajectory) with reward and advantage.

    R = 0.9 outcome + 0.9 credit + 0.1 tool, standardised over all agent trajectories of one role in the group: two
    agents of a role are pooled, two roles never.
    """
    parts = rows.with_columns(
        reward=OUTCOME * pl.col("outcome") + CREDIT * pl.col("credit") + TOOL * pl.col("tool"),
        reward_parts=pl.struct("outcome", "credit", "tool"),
    )
    return compared(parts, ["group", "role"])
