"""Dr. MAS: the broadcast outcome, standardised for each agent over the rollouts in which it spoke."""

from __future__ import annotations

from typing import ClassVar

import polars as pl

from apportion.pipeline.advantages.base import Inputs, Standardised


class DrMas(Standardised):
    """A_m = (R - mean_m R) / (std_m R + delta), mean and std over the rollouts of the prompt in which agent m spoke.

    Status: source (arXiv 2602.08847). Where agents are called unevenly, one mean and deviation for all of them does
    not fit the rewards that each agent sees, and its gradients can grow without bound. An agent counts once a rollout,
    however often it speaks.
    Degenerate: an agent that spoke in one rollout of the group, or whose outcomes span less than sigma_min, gets 0.
    Equal to `grpo` where every agent speaks in every rollout. Cost: no annotation.
    """

    name: ClassVar[str] = "dr_mas"

    def advantages(self, inputs: Inputs) -> pl.DataFrame:
        """See `Advantage.advantages`."""
        spoken = inputs.spoken()
        rewards = spoken.select(
            "trajectory_id", "agent", "group", reward="outcome", reward_parts=pl.struct("outcome")
        ).unique(["trajectory_id", "agent"], maintain_order=True)
        return self.rows(spoken, self.standardised(rewards, ["group", "agent"]), ["trajectory_id", "agent"])
