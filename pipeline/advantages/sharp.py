"""SHARP: outcome, leave-one-out credit and tool validity, standardised by role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from apportion.pipeline.advantages.agent_reward import AGENT, WEIGHTS, agent_trajectories, by_role
from apportion.pipeline.advantages.group import COMMON, advantage_rows
from apportion.pipeline.advantages.inputs import Inputs, Need, require_credits

PLANNER = "planner"
LAMBDA = 1.0
"""Scale of the planner's credit; not published, 1 is ours."""


@dataclass(frozen=True)
class Sharp:
    """R_m = 0.9 R + 0.9 R^mc_m + 0.1 R^tool_m for each agent trajectory, standardised per role over the group.

    Worker: R^mc = v(N) - v(N without m), signed, both values from one game. Planner: R^mc = lambda times the mean over
    the workers that spoke in the rollout of max(R^mc, 0), 0 where none did. R^tool: mean validity of m's own tool
    calls, 0 without calls. Roles are pooled by name: two workers of four rollouts are eight rewards.
    Status: reported (arXiv 2602.08335, from secondary accounts that agree); lambda is ours.
    An agent that spoke and is no player of the game (never heard, or the channel of the outcome) has credit 0, and so
    has everyone in an unplayable trajectory. A team without the role `planner` has workers only.
    Degenerate: one reward of a role in the group, or a span below sigma_min, gives 0. Each agent of a trajectory weighs
    1 / (number of agents) in the loss. Cost: credit on all rollouts, n + 1 values a game.
    """

    name: str = "sharp"
    needs: frozenset[Need] = frozenset({"credits", "credits_on_failures"})
    weighs_agents: bool = True

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """Weights of the parts, the planner's rule and the common ones."""
        return {**WEIGHTS, "lambda": LAMBDA, "planner": PLANNER, "credit_column": "loo", **COMMON}

    def advantages(self, inputs: Inputs) -> pl.DataFrame:
        """See `Method.advantages`."""
        credits = require_credits(self.name, inputs)
        spoken = inputs.spoken()
        planner = pl.col("role") == PLANNER
        games = credits.group_by("trajectory_id").agg(pl.col("game_id").min())
        rows = (
            agent_trajectories(self.name, spoken)
            .join(credits.select(*AGENT, own="loo"), on=AGENT, how="left", maintain_order="left")
            .join(games, on="trajectory_id", how="left", maintain_order="left")
            .with_columns(pl.col("own").fill_null(0.0))
        )
        helpful = pl.col("own").clip(lower_bound=0.0).filter(~planner).mean().over("trajectory_id").fill_null(0.0)
        rewards = by_role(rows.with_columns(credit=pl.when(planner).then(LAMBDA * helpful).otherwise("own")))
        return advantage_rows(self.name, self.parameters, spoken, rewards, AGENT)
