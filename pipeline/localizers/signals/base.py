"""What a signal is: some columns of every step, read from the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from apportion.pipeline.localizers.base import Floats
from apportion.pipeline.trajectory.case import Case, Step

Columns = Mapping[str, Iterable[float]]


@dataclass(frozen=True)
class Signal:
    """`measure` gives the columns by name, a finite number per step each, and the same columns for every case, also for
    one without steps. `version` goes up when the numbers of the same log change."""

    name: str
    measure: Callable[[Case], Columns]
    version: int = 1

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.measure(Case("", "", None, None, (), "")))

    def read(self, case: Case) -> Floats:
        """The columns as an array (steps, columns)."""
        values = [list(column) for column in self.measure(case).values()]
        return np.array(values, dtype=float).reshape(len(values), len(case.steps)).T


@dataclass
class Features:
    """The columns of several signals, side by side."""

    signals: tuple[Signal, ...]

    @property
    def columns(self) -> list[str]:
        """Their names, each with its signal's before it."""
        return [f"{signal.name}.{column}" for signal in self.signals for column in signal.columns]

    @property
    def versions(self) -> dict[str, int]:
        """Of the signals."""
        return {signal.name: signal.version for signal in self.signals}

    @property
    def scorer(self) -> str | None:
        """Fingerprint of the model that signals ask; None where none does."""
        return None

    def of(self, cases: Sequence[Case]) -> list[Floats]:
        """One array (steps, columns) per case, in order."""
        return [np.concatenate([signal.read(case) for signal in self.signals], axis=1) for case in cases]


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


def first_of(flags: Sequence[bool]) -> list[bool]:
    """Marks the first place that holds."""
    at = next((i for i, flag in enumerate(flags) if flag), None)
    return [i == at for i in range(len(flags))]
