"""What a verifier is: an answer and its references in, a verdict out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from apportion.pipeline.core.registry import Method


@dataclass(frozen=True)
class Verdict:
    """One judgement: `outcome` in [0, 1] is the reward, `success` says if it counts as solved."""

    outcome: float
    success: bool

    def __post_init__(self) -> None:
        """Refuse an outcome outside [0, 1] (NaN included): credit estimators rely on the range."""
        if not 0.0 <= self.outcome <= 1.0:
            raise ValueError(f"outcome {self.outcome} is outside [0, 1]")


class Judge(Protocol):
    """Whatever judges answers: a verifier, or a guard around one."""

    def verify(self, answer: str, references: Sequence[str]) -> Verdict: ...


class Verifier(Method, ABC):
    """Judges an answer against the aliases of one reference; pure, and callable from any thread.

    A user's own needs no base class: a `name` and a method `verify` are enough.
    """

    name: ClassVar[str]
    """Stored in `trajectories.verifier`."""

    @abstractmethod
    def verify(self, answer: str, references: Sequence[str]) -> Verdict:
        """The verdict on `answer`; `references` are aliases, of which matching any one is enough."""


def binary(success: bool) -> Verdict:
    """The verdict of a verifier that knows right and wrong only."""
    return Verdict(1.0 if success else 0.0, success)
