"""Advantage methods by name: one file each, all with the same two questions answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import polars as pl

from apportion.pipeline.advantages import dr_mas, grpo, rloo, shapley, sharp, success_failure
from apportion.pipeline.advantages.inputs import Inputs, Need
from apportion.pipeline.core.errors import UserError

__all__ = ["METHODS", "Inputs", "Method", "Need", "method"]


class Method(Protocol):
    """Rewards of a run's messages, and the advantages that come of comparing them."""

    @property
    def name(self) -> str:
        """Name stored with each advantage."""

    @property
    def needs(self) -> frozenset[Need]:
        """What must have been annotated. `credits_on_failures`: all rollouts, or groups cannot be compared."""

    @property
    def weighs_agents(self) -> bool:
        """Whether a sequence weighs 1 / (number of trained agents of its trajectory) in the loss, else 1."""

    @property
    def parameters(self) -> Mapping[str, float | str]:
        """Stored with each advantage, as JSON."""

    def advantages(self, inputs: Inputs) -> pl.DataFrame:
        """Columns of `group.ADVANTAGE_SCHEMA`, one row per trained message, by trajectory and message index.

        Trained are the agents' own messages marked trainable. Raises UserError where a needed input is missing.
        """


METHODS: dict[str, Callable[[], Method]] = {
    "grpo": grpo.Grpo,
    "rloo": rloo.Rloo,
    "dr_mas": dr_mas.DrMas,
    "sharp": sharp.Sharp,
    "shapley": shapley.Shapley,
    "success_failure": success_failure.SuccessFailure,
}


def method(name: str) -> Method:
    """The advantage method called `name`, with its default parameters. Raises UserError for an unknown one."""
    if name not in METHODS:
        raise UserError(f"advantage method {name!r} is unknown; choose one of {', '.join(METHODS)}")
    return METHODS[name]()
