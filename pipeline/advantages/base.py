"""What an advantage method is: rewards of a run's messages, and the advantages that come of comparing them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import polars as pl
from pydantic import Field

from apportion.pipeline.advantages._group import ADVANTAGE_SCHEMA, advantage_rows, compared
from apportion.pipeline.advantages._inputs import Inputs, Need, require_branches, require_credits
from apportion.pipeline.core.registry import Method

__all__ = [
    "ADVANTAGE_SCHEMA",
    "Advantage",
    "Compared",
    "Inputs",
    "Need",
    "Standardised",
    "require_branches",
    "require_credits",
]


class Advantage(Method, ABC):
    """A method: one class, whose fields are its parameters."""

    name: ClassVar[str]
    """Stored with each advantage."""
    needs: ClassVar[frozenset[Need]] = frozenset()
    """What must have been annotated. `credits_on_failures`: all rollouts, or groups cannot be compared."""
    weighs_agents: ClassVar[bool] = False
    """Whether a sequence weighs 1 / (number of trained agents of its trajectory) in the loss, else 1."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Stored with each advantage, as JSON."""
        return self.model_dump(mode="json", by_alias=True)

    @abstractmethod
    def advantages(self, inputs: Inputs) -> pl.DataFrame:
        """Columns of `ADVANTAGE_SCHEMA`, one row per trained message, by trajectory and message index.

        Trained are the agents' own messages marked trainable. Raises UserError where a needed input is missing.
        """

    def rows(self, spoken: pl.DataFrame, rewards: pl.DataFrame, on: Sequence[str]) -> pl.DataFrame:
        """The rows of `advantages`: one per trained message of `spoken` (`Inputs.spoken`), by trajectory and index.

        `rewards`, unique on `on`, has reward, reward_parts (a struct), group_mean, group_std, group_size, advantage,
        degenerate, and optionally game_id.
        """
        return advantage_rows(self.name, self.parameters, spoken, rewards, on)


class Compared(Advantage):
    """A method that compares rewards within a group."""

    sigma_min: float = Field(1e-3, gt=0, le=1)
    """Rewards of a group that span less than this are too alike to compare, and give 0: noise must not be blown up."""

    def compared(self, rewards: pl.DataFrame, by: Sequence[str], advantage: pl.Expr) -> pl.DataFrame:
        """`rewards` with group_mean, group_std (ddof 1), group_size, degenerate and `advantage`, an expression over
        these; groups are told apart by `by`."""
        return compared(rewards, by, advantage, self.sigma_min)


class Standardised(Compared):
    """A method that divides by the standard deviation of a group."""

    delta: float = Field(1e-6, ge=0, le=1)
    """Added to a standard deviation before it divides."""

    def standardised(self, rewards: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
        """`compared`, with advantage (reward - mean) / (std + delta)."""
        return self.compared(
            rewards, by, (pl.col("reward") - pl.col("group_mean")) / (pl.col("group_std") + self.delta)
        )
