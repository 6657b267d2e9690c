"""What a signal is: some columns of every step, read from the text alone or from what a scorer says of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.engines.base import Score, ScoreRequest
from apportion.pipeline.localizers.signals.window import View
from apportion.pipeline.trajectory.case import Case, Step

Floats = NDArray[np.float64]
Scored = Sequence[Sequence[float]]
"""Log-probabilities of the target tokens, one list a request."""

Ask = Callable[[Case, View, Any], list[ScoreRequest]]
Read = Callable[[Case, View, Sequence[Score]], Floats]


def _nothing(case: Case, view: View, tokenizer: Any) -> list[ScoreRequest]:
    return []


@dataclass(frozen=True)
class Signal:
    """`ask` gives a case's scoring requests, `read` turns their scores into an array (steps, columns), all finite.

    A signal that reads text alone asks nothing. `version` goes up when the numbers of the same log change.
    """

    name: str
    columns: tuple[str, ...]
    read: Read
    ask: Ask = _nothing
    needs_reference: bool = False
    version: int = 1

    @property
    def needs_model(self) -> bool:
        """Whether it asks a scorer."""
        return self.ask is not _nothing


def from_text(name: str, columns: tuple[str, ...], read: Callable[[Case], Sequence[Iterable[float]]]) -> Signal:
    """A signal of the text alone; `read` gives one sequence a column."""

    def table(case: Case, view: View, scores: Sequence[Score]) -> Floats:
        values = read(case)
        made = np.array([list(column) for column in values], dtype=float).reshape(len(columns), len(case.steps))
        return np.asarray(made.T)

    return Signal(name, columns, table)


_IDLE = re.compile(r"\s*TERMINATE\W*|There is no code from the last\b.*|Next speaker\b.*|Request satisfied\W*", re.S)


def is_idle(step: Step) -> bool:
    """A message that says nothing of the task: a sign-off, or a notice of the frame the team runs in."""
    return not step.text.strip() or _IDLE.fullmatch(step.text.strip()) is not None


def is_tool(step: Step) -> bool:
    """Whether the step is a tool's output: by its role, or a terminal by its name."""
    return step.role == "tool" or "terminal" in step.agent.casefold()


def is_talk(step: Step) -> bool:
    """Whether an agent says something of its own."""
    return not is_tool(step) and step.role != "user" and not is_idle(step)


def counts(pattern: re.Pattern[str], case: Case) -> list[float]:
    """log(1 + matches) in every message; 0 in what tools print."""
    return [0.0 if is_tool(step) else float(np.log1p(len(pattern.findall(step.text)))) for step in case.steps]


def first_of(flags: Sequence[bool]) -> list[float]:
    """1 at the first place that holds, 0 elsewhere."""
    at = next((i for i, flag in enumerate(flags) if flag), None)
    return [float(i == at) for i in range(len(flags))]
