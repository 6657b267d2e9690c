"""RLOO: the outcome against the mean outcome of the other rollouts."""

from __future__ import annotations

from typing import ClassVar

import polars as pl

from apportion.pipeline.advantages.base import Compared, Inputs

_AGAINST_OTHERS = (pl.col("reward") - pl.col("group_mean")) * pl.col("group_size") / (pl.col("group_size") - 1)


class Rloo(Compared):
    """A = R - mean R of the other rollouts of the prompt = G / (G - 1) (R - mean R), the same for every message.

    Status: source (arXiv 2402.14740). The baseline leaves out the rollout that it judges, so it adds no bias;
    nothing is divided by a standard deviation, so easy and hard prompts keep their own scale.
    Degenerate: a group of one, or whose outcomes span less than sigma_min, gives 0. Cost: no annotation.
    """

    name: ClassVar[str] = "rloo"

    def advantages(self, inputs: Inputs) -> pl.DataFrame:
        """See `Advantage.advantages`."""
        rewards = inputs.rollouts().select(
            "trajectory_id", "group", reward="outcome", reward_parts=pl.struct("outcome")
        )
        against = self.compared(rewards, ["group"], _AGAINST_OTHERS)
        return self.rows(inputs.spoken(), against, ["trajectory_id"])
