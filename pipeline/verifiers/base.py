"""What a verifier is: an answer and its references in, a verdict out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Verdict:
    """One judgement: `outcome` in [0, 1] is the reward, `success` says if it counts as solved."""

    outcome: float
    success: bool

    def __post_init__(self) -> None:
        """Refuse an outcome outside [0, 1] (NaN included): credit estimators rely on the range."""
        if not 0.0 <= self.outcome <= 1.0:
            raise ValueError(f"outcome {self.outcome} is outside [0, 1]")


@runtime_checkable
class Verifier(Protocol):
    """Judges an answer against the aliases of one reference; pure, and callable from any thread."""

    @property
    def name(self) -> str:
        """The name stored in `trajectories.verifier`."""
        ...

    def verify(self, answer: str, references: Sequence[str]) -> Verdict:
        """The verdict on `answer`; `references` are aliases, of which matching any one is enough."""
        ...


def binary(success: bool) -> Verdict:
    """The verdict of a verifier that knows right and wrong only."""
    return Verdict(1.0 if success else 0.0, success)


def setting(name: str, value: object, low: float, high: float) -> float:
    """`value` as a number in [low, high]. Raises ValueError, which names it, for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}")
    return float(value)


def boxed(text: str) -> str | None:
    """What stands in the last \\boxed{...} of `text`, its braces balanced; None without one."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed")
    for at in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[begin + 1 : at].strip() or None
    return None
