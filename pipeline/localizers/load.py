"""The localizers and checkers that there are, each added by one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.localizers.base import Localizer
from apportion.pipeline.localizers.floors import ConstantAgent, ConstantStep, Speaker, Uniform
from apportion.pipeline.localizers.learned import shipped
from apportion.pipeline.localizers.outline import StructureChecker, StructureRanker, UniformChecker
from apportion.pipeline.localizers.process.families import Sources, families, judge
from apportion.pipeline.trajectory.case import Case

BASELINE = "structure"
"""What every other row is compared with."""


@dataclass(frozen=True)
class Context:
    """What a localizer may need. Making one is cheap: engines start with the first case that is judged or learned.

    A localizer's `name` is the one that it is listed by.
    """

    config: Config
    plant: Path | None = None
    """Solutions in which errors are planted, for the process model (`families.Sources`)."""
    keep: Path | None = None
    """A folder for measured signals of solutions."""


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


@runtime_checkable
class Refuses(Protocol):
    """A localizer that leaves some cases unjudged. `refused`: a line for each."""

    @property
    def refused(self) -> Sequence[str]: ...


@runtime_checkable
class Slow(Protocol):
    """A localizer that may ask a model for minutes: where `slow` is true it runs only when it is asked for by name."""

    @property
    def slow(self) -> bool: ...


Make = Callable[[Context], Localizer]

LOCALIZERS: dict[str, Make] = {
    "random": lambda _: Uniform(),
    "constant step from start": lambda _: ConstantStep("start"),
    "constant step from end": lambda _: ConstantStep("end"),
    "constant agent": lambda _: ConstantAgent(),
    "first speaker": lambda _: Speaker("first"),
    "last speaker": lambda _: Speaker("last"),
    "most talkative speaker": lambda _: Speaker("most talkative"),
    BASELINE: lambda _: StructureRanker(),
    "learned": lambda _: shipped(),
    "generative_judge": lambda context: judge(context.config, none=False),
}
"""By name, floors first. Those that are `Shipped` come with their weights, the others unfitted."""

CHECKERS: dict[str, Make] = {
    "random": lambda _: UniformChecker(),
    BASELINE: lambda _: StructureChecker(),
}
"""The same for solutions: their verdicts also say how likely it is that no step is wrong."""


def localizers(context: Context, names: Sequence[str] = ()) -> list[Localizer]:
    """Those asked for (none: all that are not `Slow`) in the order of the list, and always the baseline."""
    return _chosen(LOCALIZERS, context, names)


def checkers(context: Context, names: Sequence[str] = ()) -> list[Localizer]:
    """The same for solutions."""
    there = {one.name: one for one in families(Sources(context.config, context.plant, keep=context.keep))}
    return _chosen(CHECKERS | {name: lambda _, one=one: one for name, one in there.items()}, context, names)


def _chosen(there: Mapping[str, Make], context: Context, names: Sequence[str]) -> list[Localizer]:
    for name in names:
        if name not in there:
            raise UserError(f"--localizer {name!r}: there is none of that name; there are: {', '.join(there)}")
    made = [make(context) for name, make in there.items() if not names or name in names or name == BASELINE]
    return [one for one in made if names or not (isinstance(one, Slow) and one.slow)]
