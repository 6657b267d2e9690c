"""What a signal is: some columns of every step, read from the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from apportion.pipeline.localizers.base import Floats
from apportion.pipeline.trajectory.case import Case, Step


@dataclass(frozen=True)
class Signal:
    """`read` gives an array (steps, columns), all finite. `version` goes up when the numbers of the same log change."""

    name: str
    columns: tuple[str, ...]
    read: Callable[[Case], Floats]
    version: int = 1


class Features(Protocol):
    """The columns of several signals, side by side."""

    @property
    def columns(self) -> list[str]:
        """Their names, each with its signal's before it."""
        ...

    @property
    def versions(self) -> dict[str, int]:
        """Of the signals."""
        ...

    @property
    def scorer(self) -> str | None:
        """Fingerprint of the model that signals ask; None where none does."""
        ...

    def of(self, cases: Sequence[Case]) -> list[Floats]:
        """One array (steps, columns) per case, in order."""
        ...


@dataclass(frozen=True)
class TextFeatures:
    """`Features` of signals that read the text alone."""

    signals: tuple[Signal, ...]
    scorer: None = None

    @property
    def columns(self) -> list[str]:
        return [f"{signal.name}.{column}" for signal in self.signals for column in signal.columns]

    @property
    def versions(self) -> dict[str, int]:
        return {signal.name: signal.version for signal in self.signals}

    def of(self, cases: Sequence[Case]) -> list[Floats]:
        return [np.concatenate([signal.read(case) for signal in self.signals], axis=1) for case in cases]


def from_text(name: str, columns: tuple[str, ...], read: Callable[[Case], Sequence[Iterable[float]]]) -> Signal:
    """A signal whose `read` gives one sequence per column."""

    def table(case: Case) -> Floats:
        values = np.array([list(column) for column in read(case)], dtype=float)
        return np.asarray(values.reshape(len(columns), len(case.steps)).T)

    return Signal(name, columns, table)


_IDLE = re.compile(r"\s*TERMINATE\W*|There is no code from the last\b.*|Next speaker\b.*|Request satisfied\W*", re.S)


def is_idle(step: Step) -> bool:
    """A message that says nothing of the task: a sign-off, or a notice of the frame the team runs in."""
    return not step.text.strip() or _IDLE.fullmatch(step.text.strip()) is not None


def is_tool(step: Step) -> bool:
    """Whether the step is a tool's output: by its role, or a terminal by its name."""
    return step.role == "tool" or "terminal" in step.agent.casefold()


def counts(pattern: re.Pattern[str], case: Case) -> list[float]:
    """log(1 + matches) in every message; 0 in what tools print."""
    return [0.0 if is_tool(step) else float(np.log1p(len(pattern.findall(step.text)))) for step in case.steps]


def first_of(flags: Sequence[bool]) -> list[float]:
    """1 at the first place that holds, 0 elsewhere."""
    at = next((i for i, flag in enumerate(flags) if flag), None)
    return [float(i == at) for i in range(len(flags))]
