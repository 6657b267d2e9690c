"""GRPO: the outcome, standardised over the rollouts of one prompt."""

from __future__ import annotations

from typing import ClassVar

import polars as pl

from apportion.pipeline.advantages.base import Inputs, Standardised


class Grpo(Standardised):
    """A = (R - mean R) / (std R + delta) over the G rollouts of a prompt, the same for every agent and message.

    Status: source (arXiv 2402.03300). R is the trajectory's outcome, std unbiased. A broadcast reward cannot tell a
    harmful agent of a success from a helpful one: the methods that use credit can.
    Degenerate: a group of one, or whose outcomes span less than sigma_min, gives 0. Cost: no annotation.
    """

    name: ClassVar[str] = "grpo"

    def advantages(self, inputs: Inputs) -> pl.DataFrame:
        """See `Advantage.advantages`."""
        rewards = inputs.rollouts().select(
            "trajectory_id", "group", reward="outcome", reward_parts=pl.struct("outcome")
        )
        return self.rows(inputs.spoken(), self.standardised(rewards, ["group"]), ["trajectory_id"])
