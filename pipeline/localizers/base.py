"""The protocol of localizers: which step of a failure went wrong first, and which agent is to blame.

`apportion annotate` asks the configured one about a run's failures, `apportion evaluate` holds any number of them
against labelled logs. A localizer is a class in a file of its own; what it needs beside the text it declares, and gets.
"""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.registry import Method, family
from apportion.pipeline.trajectory.blamable import blamable
from apportion.pipeline.trajectory.case import Case

if TYPE_CHECKING:
    from apportion.pipeline.engines.base import Engine
    from apportion.pipeline.play.play import Played, Rollout

Floats = NDArray[np.float64]
Continue = Callable[[str, Sequence["Rollout"]], "list[tuple[Played, bool | None]]"]
"""Plays rollouts to their end, under a name for the progress bar; None where a fault left no verdict."""
T = TypeVar("T", bound="Localizer")

UNTRAINED = "it learns from labelled logs, and has seen none"


class Needs(StrEnum):
    """What a localizer needs beside the cases."""

    TEXT = "text"
    SCORER = "scorer"
    """An engine that scores: `Means.engine`."""
    CONTINUATIONS = "continuations"
    """A run that can be played on: `Means.play`."""


@dataclass(frozen=True)
class Means:
    """What the stage gives a localizer. `engine` starts the scorer at the first call.

    `cue` stands before a reference whose probability is read; `window` is the context window in tokens; `sound`: that
    no step is wrong is an answer as well, as it is for solutions.
    """

    engine: Callable[[], Engine] | None = None
    play: Continue | None = None
    cue: str = ""
    window: int = 0
    seed: int = 0
    sound: bool = False


TEXT_ONLY = Means()


@dataclass(frozen=True)
class Verdict:
    """Scores, higher is likelier; only their order counts. Steps and agents need not agree: each is predicted on its
    own terms.

    `steps`: one per step of the case. `agents`: by whole name. `none`: that no step is wrong, on the scale of `steps`;
    minus infinity where a step is always named.
    """

    steps: Floats
    agents: Mapping[str, float]
    none: float = -math.inf
    unlikeness: float | None = None
    """How far the log is from those that the localizer learned from, 1 at the edge of these; above it the verdict is
    worth nothing that was measured. None: not known."""
    probabilities: Floats | None = None
    """Of each step to be the one, where the scores come from such."""
    values: Sequence[float | None] = ()
    """V(h_0), ..., V(h_T) of the prefixes of the run's turns, one more than there are turns."""
    confidence: float | None = None
    """In the best-scored step, in [0, 1]; where it is None, the step's probability."""
    rewrites: Sequence[tuple[Played, bool | None]] = ()
    """Continuations that rewrote the best-scored step, with their verdicts: they are not sampled again."""
    reason: str | None = None
    """Why no step is to be named although there are scores."""
    refused: str | None = None
    """Why the case could not be judged at all; the scores are then alike."""

    @property
    def first_wrong(self) -> int | None:
        """Place of the step that is named, the earliest of equals; None where no step is."""
        if not len(self.steps) or self.none >= self.steps.max():
            return None
        return int(self.steps.argmax())


class Localizer(Method):
    """A localizer: subclass it, in a file of the family or anywhere. `judge` is all that it must have."""

    needs: ClassVar[Needs] = Needs.TEXT
    target: ClassVar[Literal["decisive", "first_wrong"]] = "decisive"
    """What it looks for: the step whose correction would have flipped the outcome, or the earliest wrong step."""
    learns: ClassVar[bool] = False
    """Whether `fit` learns anything. Without weights of its own it then says nothing before it is fitted."""
    title: ClassVar[str] = ""
    """Its name in the tables of `evaluate`, where that is not the one it is asked for by."""

    @property
    def trained_on(self) -> frozenset[str] | None:
        """Ids of the questions that the weights it comes with have seen; None where it comes without."""
        return None

    @property
    def weights(self) -> str | None:
        """Digest of the weights that it comes with."""
        return None

    def fit(self, cases: Sequence[Case], means: Means) -> Self:
        """A copy that has learned from labelled cases."""
        return self

    @abstractmethod
    def judge(self, cases: Sequence[Case], means: Means) -> list[Verdict]:
        """One verdict per case, in order."""

    def obstacle(self, case: Case, tokenizer: Any, means: Means) -> str | None:
        """Why the case cannot be judged; a dry run asks, so without an engine."""
        return None

    def continuations(self, case: Case) -> int:
        """How many continuations the case takes at most."""
        return 0

    def cut_share(self, cases: Sequence[Case], means: Means) -> float | None:
        """Share of the cases' text that it does not see, in [0, 1]; None where it reads all."""
        return None


def make(name: str, parameters: Mapping[str, Any] = MappingProxyType({}), key: str = "failures.localizer") -> Localizer:
    """The localizer called `name`, or at a path. Raises UserError, with the nearest name, where there is none."""
    methods = replace(family("localizers"), key=key)
    found = methods.find(name)
    if not (isinstance(found, type) and issubclass(found, Localizer)):
        raise UserError(f"{key} = {name!r}: is no subclass of apportion.pipeline.localizers.base.Localizer")
    if inspect.isabstract(found):
        raise UserError(f"{key} = {name!r}: it has no 'judge'; see docs/evaluate.md")
    method: Localizer = methods.make(name, parameters)
    return method


def label(name: str) -> str:
    """What the rows of a localizer are marked by: its name; of one at a path the name of its class.

    Raises UserError where such a class is called like another localizer.
    """
    methods = family("localizers")
    if not methods.is_own(name):
        return name.replace("-", "_").replace(" ", "_")
    own = name.rpartition(":")[2].rpartition(".")[2]
    if own in methods.names() or own in ("none", "sibling", "random"):
        raise UserError(f"failures.localizer = {name!r}: there is a localizer {own!r}; give the class another name")
    return own


def fitted(localizer: T, **state: Any) -> T:
    """A copy with other private attributes: what `fit` returns."""
    copy = localizer.model_copy()
    for name, value in state.items():
        setattr(copy, name, value)
    return copy


def alike(case: Case, means: Means, **more: Any) -> Verdict:
    """Every step, every agent, and that none is wrong where that is an answer, alike."""
    none = 0.0 if means.sound else -math.inf
    return Verdict(np.zeros(len(case.steps)), dict.fromkeys(case.agents, 0.0), none, **more)


def by_step(case: Case, scores: Floats, **more: Any) -> Verdict:
    """Blame for each agent the best of its steps."""
    agents = dict.fromkeys(case.agents, -math.inf)
    for step, score in zip(case.steps, scores.tolist(), strict=True):
        agents[step.agent] = max(agents[step.agent], score)
    return Verdict(scores, agents, **more)


def of_agents(case: Case, verdict: Verdict) -> Verdict:
    """The verdict without the steps, and without the speakers, that cannot be to blame: minus infinity."""
    able = blamable(case)
    speakers = {step.agent for step, may in zip(case.steps, able, strict=True) if may}
    agents = {name: score if name in speakers else -math.inf for name, score in verdict.agents.items()}
    return replace(verdict, steps=np.where(able, verdict.steps, -np.inf), agents=agents)
