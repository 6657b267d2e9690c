"""The localizers and checkers that there are, each added by one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pipeline.config import Config
from pipeline.localize.base import Localizer
from pipeline.localize.case import Case
from pipeline.localize.floors import ConstantAgent, ConstantStep, Speaker, Uniform
from pipeline.localize.outline import StructureChecker, StructureRanker, UniformChecker

BASELINE = "structure"
"""What every other row is compared with."""


@dataclass(frozen=True)
class Context:
    """What a localizer may need. Making one is cheap: engines start with the first case that is judged or learned."""

    config: Config


@runtime_checkable
class Shipped(Protocol):
    """A localizer whose weights come with the project. `trained_on`: ids of the questions that they have seen."""

    @property
    def trained_on(self) -> frozenset[str]: ...


@runtime_checkable
class Cuts(Protocol):
    """A localizer that does not see all of a long log."""

    def cut_share(self, cases: Sequence[Case]) -> float:
        """Share of the cases' characters that it leaves out, in [0, 1]."""
        ...


LOCALIZERS: tuple[Callable[[Context], Localizer], ...] = (
    lambda _: Uniform(),
    lambda _: ConstantStep("start"),
    lambda _: ConstantStep("end"),
    lambda _: ConstantAgent(),
    lambda _: Speaker("first"),
    lambda _: Speaker("last"),
    lambda _: Speaker("most talkative"),
    lambda _: StructureRanker(),
)

CHECKERS: tuple[Callable[[Context], Localizer], ...] = (
    lambda _: UniformChecker(),
    lambda _: StructureChecker(),
)


def localizers(context: Context) -> list[Localizer]:
    """All localizers, floors first. Those that are `Shipped` come with their weights, the others unfitted."""
    return [make(context) for make in LOCALIZERS]


def checkers(context: Context) -> list[Localizer]:
    """All that judge solutions: their verdicts say how likely it is that no step is wrong. Floors first."""
    return [make(context) for make in CHECKERS]
