"""What a signal is that asks a scorer: requests for each case, and some columns of every step from their scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from apportion.pipeline.engines.base import Score, ScoreRequest
from apportion.pipeline.localizers.base import Floats
from apportion.pipeline.trajectory.case import Case
from research.signals.window import View


@dataclass(frozen=True)
class ScoredSignal:
    """`ask` gives a case's scoring requests, `read` turns their scores into an array (steps, columns), all finite.

    `version` goes up when the numbers of the same log change.
    """

    name: str
    columns: tuple[str, ...]
    read: Callable[[Case, View, Sequence[Score]], Floats]
    ask: Callable[[Case, View, Any], list[ScoreRequest]]
    needs_reference: bool = False
    version: int = 1
