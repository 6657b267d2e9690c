"""RLOO: the outcome against the mean outcome of the other rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from apportion.pipeline.advantages.group import SIGMA_MIN, advantage_rows, compared
from apportion.pipeline.advantages.inputs import Inputs, Need

_AGAINST_OTHERS = (pl.col("reward") - pl.col("group_mean")) * pl.col("group_size") / (pl.col("group_size") - 1)


@dataclass(frozen=True)
class Rloo:
    """A = R - mean R of the other rollouts of the prompt = G / (G - 1) (R - mean R), the same for every message.

    Status: source (arXiv 2402.14740). The baseline leaves out the rollout that it judges, so it adds no bias;
    nothing is divided by a standard deviation, so easy and hard prompts keep their own scale.
    Degenerate: a group of one, or whose outcomes span less than sigma_min, gives 0. Cost: no annotation.
    """

    name: str = "rloo"
    needs: frozenset[Need] = frozenset()
    weighs_agents: bool = False

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """Nothing divides, so no delta."""
        return {"sigma_min": SIGMA_MIN}

    def advantages(self, inputs: Inputs) -> pl.DataFrame:
        """See `Method.advantages`."""
        rewards = inputs.rollouts().select(
            "trajectory_id", "group", reward="outcome", reward_parts=pl.struct("outcome")
        )
        against = compared(rewards, ["group"], _AGAINST_OTHERS)
        return advantage_rows(self.name, self.parameters, inputs.spoken(), against, ["trajectory_id"])
