"""SHARP: outcome, leave-one-out credit and tool validity, standardised by role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import polars as pl
from pydantic import ConfigDict, Field

from apportion.pipeline.advantages._agent_reward import AGENT, AgentReward
from apportion.pipeline.advantages.base import Inputs


class Sharp(AgentReward):
    """R_m = `outcome` R + `credit` R^mc_m + `tool` R^tool_m for each agent trajectory, standardised per role over the
    group.

    Worker: R^mc = v(N) - v(N without m), signed, both values from one game. Planner: R^mc = lambda times the mean over
    the workers that spoke in the rollout of max(R^mc, 0), 0 where none did. R^tool: mean validity of m's own tool
    calls, 0 without calls. Roles are pooled by name: two workers of four rollouts are eight rewards.
    Status: reported (arXiv 2602.08335, from secondary accounts that agree); lambda is ours.
    An agent that spoke and is no player of the game (never heard, or the channel of the outcome) has credit 0, and so
    has everyone in an unplayable trajectory. A team without the role `planner` has workers only.
    Degenerate: one reward of a role in the group, or a span below sigma_min, gives 0. Each agent of a trajectory weighs
    1 / (number of agents) in the loss. Cost: credit on all rollouts, n + 1 values a game.
    """

    model_config = ConfigDict(populate_by_name=True)
    name: ClassVar[str] = "sharp"

    lambda_: float = Field(1.0, alias="lambda", ge=0, le=100)
    """Scale of the planner's credit; not published, 1 is ours."""
    planner: str = "planner"
    """The role that is judged by its workers."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The fields, and which credit counts."""
        return {**super().parameters, "credit_column": "loo"}

    def advantages(self, inputs: Inputs) -> pl.DataFrame:
        """See `Advantage.advantages`."""
        spoken = inputs.spoken()
        planner, own = pl.col("role") == self.planner, pl.col("credit")
        helpful = own.clip(lower_bound=0.0).filter(~planner).mean().over("trajectory_id").fill_null(0.0)
        credit = pl.when(planner).then(self.lambda_ * helpful).otherwise(own)
        rewards = self.by_role(self.credited(inputs, spoken, "loo").with_columns(credit=credit))
        return self.rows(spoken, rewards, AGENT)
