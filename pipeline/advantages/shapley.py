"""Shapley advantages: outcome, Shapley credit and tool validity, standardised by role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from apportion.pipeline.advantages.agent_reward import AGENT, WEIGHTS, agent_trajectories, by_role
from apportion.pipeline.advantages.group import COMMON, advantage_rows
from apportion.pipeline.advantages.inputs import Inputs, Need, require_credits


@dataclass(frozen=True)
class Shapley:
    """R_m = 0.9 R + 0.9 phi_m + 0.1 R^tool_m for each agent trajectory, standardised per role over the group.

    phi_m is the agent's Shapley value, the planner's included. Leave-one-out (see `sharp`) gives two workers that found
    the same fact nothing; Shapley values share it between them, and need no rule for the planner.
    Status: ours. An agent that spoke and is no player of the game (never heard, or the channel of the outcome) has
    credit 0, and so has everyone in an unplayable trajectory.
    Degenerate: one reward of a role in the group, or a span below sigma_min, gives 0. Each agent of a trajectory weighs
    1 / (number of agents) in the loss. Cost: credit on all rollouts, 2^n values a game.
    """

    name: str = "shapley"
    needs: frozenset[Need] = frozenset({"credits", "credits_on_failures"})
    weighs_agents: bool = True

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """Weights of the parts and the common ones."""
        return {**WEIGHTS, "credit_column": "credit", **COMMON}

    def advantages(self, inputs: Inputs) -> pl.DataFrame:
        """See `Method.advantages`."""
        credits = require_credits(self.name, inputs)
        spoken = inputs.spoken()
        games = credits.group_by("trajectory_id").agg(pl.col("game_id").min())
        rows = (
            agent_trajectories(self.name, spoken)
            .join(credits.select(*AGENT, "credit"), on=AGENT, how="left", maintain_order="left")
            .join(games, on="trajectory_id", how="left", maintain_order="left")
            .with_columns(pl.col("credit").fill_null(0.0))
        )
        return advantage_rows(self.name, self.parameters, spoken, by_role(rows), AGENT)
