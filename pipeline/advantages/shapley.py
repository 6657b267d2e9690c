"""Shapley advantages: outcome, Shapley credit and tool validity, standardised by role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import polars as pl

from apportion.pipeline.advantages._agent_reward import AGENT, AgentReward
from apportion.pipeline.advantages.base import Inputs


class Shapley(AgentReward):
    """R_m = `outcome` R + `credit` phi_m + `tool` R^tool_m for each agent trajectory, standardised per role over the
    group.

    phi_m is the agent's Shapley value, the planner's included. Leave-one-out (see `sharp`) gives two workers that found
    the same fact nothing; Shapley values share it between them, and need no rule for the planner.
    Status: ours. An agent that spoke and is no player of the game (never heard, or the channel of the outcome) has
    credit 0, and so has everyone in an unplayable trajectory.
    Degenerate: one reward of a role in the group, or a span below sigma_min, gives 0. Each agent of a trajectory weighs
    1 / (number of agents) in the loss. Cost: credit on all rollouts, 2^n values a game.
    """

    name: ClassVar[str] = "shapley"

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The fields, and which credit counts."""
        return {**super().parameters, "credit_column": "credit"}

    def advantages(self, inputs: Inputs) -> pl.DataFrame:
        """See `Advantage.advantages`."""
        spoken = inputs.spoken()
        return self.rows(spoken, self.by_role(self.credited(inputs, spoken, "credit")), AGENT)
