"""GRPO: the outcome, standardised over the rollouts of one prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from apportion.pipeline.advantages.group import COMMON, advantage_rows, compared
from apportion.pipeline.advantages.inputs import Inputs, Need


@dataclass(frozen=True)
class Grpo:
    """A = (R - mean R) / (std R + delta) over the G rollouts of a prompt, the same for every agent and message.

    Status: source (arXiv 2402.03300). R is the trajectory's outcome, std unbiased. A broadcast reward cannot tell a
    harmful agent of a success from a helpful one: the methods that use credit can.
    Degenerate: a group of one, or whose outcomes span less than sigma_min, gives 0. Cost: no annotation.
    """

    name: str = "grpo"
    needs: frozenset[Need] = frozenset()
    weighs_agents: bool = False

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """The common ones."""
        return COMMON

    def advantages(self, inputs: Inputs) -> pl.DataFrame:
        """See `Method.advantages`."""
        rewards = inputs.rollouts().select(
            "trajectory_id", "group", reward="outcome", reward_parts=pl.struct("outcome")
        )
        return advantage_rows(
            self.name, self.parameters, inputs.spoken(), compared(rewards, ["group"]), ["trajectory_id"]
        )
