"""The reward of an agent's trajectory in three parts: outcome, credit and tools. `sharp` and `shapley` share it."""

from __future__ import annotations

from typing import ClassVar

import polars as pl
from pydantic import Field

from apportion.pipeline.advantages.base import Inputs, Need, Standardised, require_credits
from apportion.pipeline.core.errors import UserError

AGENT = ["trajectory_id", "agent"]


class AgentReward(Standardised):
    """R = outcome R + credit c + tool R^tool, standardised over all agent trajectories of one role in the group: two
    agents of a role are pooled, two roles never.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"credits", "credits_on_failures"})
    weighs_agents: ClassVar[bool] = True

    outcome: float = Field(0.9, ge=0, le=100)
    """Weight of the trajectory's outcome."""
    credit: float = Field(0.9, ge=0, le=100)
    """Weight of the agent's credit."""
    tool: float = Field(0.1, ge=0, le=100)
    """Weight of the validity of the agent's tool calls."""

    def credited(self, inputs: Inputs, spoken: pl.DataFrame, column: str) -> pl.DataFrame:
        """One row per agent that spoke in a trajectory: trajectory_id, agent, role, group, outcome, tool, game_id and
        `credit`, read from `column` of the credits; 0 for who has none.

        Raises UserError where a credit is missing, and for an agent without a role: rewards are compared by roles.
        """
        credits = require_credits(self.name, inputs)
        games = credits.group_by("trajectory_id").agg(pl.col("game_id").min())
        return (
            self._agents(spoken)
            .join(credits.select(*AGENT, credit=column), on=AGENT, how="left", maintain_order="left")
            .join(games, on="trajectory_id", how="left", maintain_order="left")
            .with_columns(pl.col("credit").fill_null(0.0))
        )

    def by_role(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`rows` (outcome, tool, credit in one row per agent trajectory) with reward and advantage."""
        parts = rows.with_columns(
            reward=self.outcome * pl.col("outcome") + self.credit * pl.col("credit") + self.tool * pl.col("tool"),
            reward_parts=pl.struct("outcome", "credit", "tool"),
        )
        return self.standardised(parts, ["group", "role"])

    def _agents(self, spoken: pl.DataFrame) -> pl.DataFrame:
        """`tool` is the mean validity of the agent's own tool calls in [0, 1], 0 without calls: the messages that have
        a `tool_valid`."""
        rows = spoken.group_by(AGENT, maintain_order=True).agg(
            pl.col("role", "group", "outcome").first(),
            tool=pl.col("tool_valid").mean().fill_null(0.0),
        )
        unknown = rows.filter(pl.col("role").is_null())["agent"]
        if len(unknown):
            raise UserError(
                f"advantages {self.name}: agent {unknown[0]!r} has no role in the team; name it in [[team.agents]]"
            )
        return rows
