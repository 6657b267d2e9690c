"""What a localizer found in a failure, as rows of `steps` and `localizations`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from apportion.pipeline.localizers import value_drop
from apportion.pipeline.localizers.base import Verdict
from apportion.pipeline.localizers.blamable import blamable
from apportion.pipeline.localizers.first_error import FirstError
from apportion.pipeline.localizers.learned import NAME as LEARNED
from apportion.pipeline.localizers.learned import weights_fingerprint
from apportion.pipeline.play.play import Played
from apportion.pipeline.trajectory.case import Case, case_of
from apportion.pipeline.trajectory.log import Log

VERSION = 2
"""Goes up when the same imported log gives other rows. 1 could blame people, and fell back on the value."""
UNLIKE = "the log is unlike those that the weights come from"
NOBODY = "only people and tools speak"
NO_FALL = "the value falls nowhere beyond the margin"


@dataclass(frozen=True)
class Located:
    """A failure, what a localizer (`by`) found of its turns, and what was made of it.

    It gives values of the prefixes, one more than there are turns; or for each turn the probability of being wrong.
    `agent` is to blame; `confidence` in [0, 1] is the fall of the value, or the probability. Where it names no step,
    `reason` says why. `unlikeness` is that of the verdict.
    """

    log: Log
    by: str
    step: int | None = None
    agent: str | None = None
    confidence: float | None = None
    values: Sequence[float | None] = ()
    probabilities: Sequence[float] = ()
    tried: Sequence[tuple[Played, bool | None]] = ()
    """Continuations that rewrote the wrong step, with their verdicts."""
    reason: str | None = None
    unlikeness: float | None = None

    @classmethod
    def at(cls, error: FirstError | None, log: Log, by: str, values: Sequence[float | None], **more: Any) -> Located:
        """Where the value falls; who speaks there is to blame."""
        if error is None:
            reason = NO_FALL if any(turns_to_blame(log)) else NOBODY
            return cls(log, by, values=values, reason=reason)
        step = log.turns[error.turn]
        return cls(log, by, step, str(log.messages[step]["agent"]), error.fall, values, **more)

    @classmethod
    def read(cls, log: Log, case: Case, verdict: Verdict, everywhere: bool) -> Located:
        """What the learned ranker says: the likeliest message of an agent, whose speaker is to blame.

        Nothing, with a reason, where no agent speaks, or the log is unlike what the ranker learned from and nobody
        asked for it to be read `everywhere`.
        """
        far = verdict.unlikeness
        far = far if far is not None and math.isfinite(far) else None
        if not blamable(case).any():
            return cls(log, LEARNED, reason=NOBODY, unlikeness=far)
        if unlike(verdict) and not everywhere:
            return cls(log, LEARNED, reason=UNLIKE, unlikeness=far)
        said = dict(zip(_places(log), np.exp(verdict.steps).tolist(), strict=True))
        step = max(said, key=lambda place: said[place])
        odds = [min(1.0, said.get(turn, 0.0)) for turn in log.turns]
        agent = str(log.messages[step]["agent"])
        return cls(log, LEARNED, step, agent, min(1.0, said[step]), probabilities=odds, unlikeness=far)

    @property
    def target(self) -> str:
        """What kind of error the localizer looks for."""
        return "first_wrong" if self.by == value_drop.NAME else "decisive"

    def steps(self, scorer: str | None) -> list[dict[str, Any]]:
        """Its rows of `steps`; none where it says nothing of any step."""
        turns = self.log.turns
        if not len(self.values) and not len(self.probabilities):
            return []
        values: Sequence[float | None] = self.values or [None] * (len(turns) + 1)
        wrong: Sequence[float | None] = self.probabilities or [None] * len(turns)
        return [
            {
                "trajectory_id": self.log.trajectory_id,
                "message_index": turn,
                "agent": self.log.messages[turn]["agent"],
                "prm": self.by,
                "scorer": scorer,
                "value_before": before,
                "value_after": after,
                "score": _score(before, after, probability),
                "probability": probability,
            }
            for turn, before, after, probability in zip(turns, values, values[1:], wrong, strict=False)
        ]

    def row(self) -> dict[str, Any]:
        """Its row of `localizations`."""
        return {
            "trajectory_id": self.log.trajectory_id,
            "localizer": self.by,
            "target": self.target,
            "first_error": self.step,
            "agent": self.agent,
            "speaker": None if self.step is None else self.log.messages[self.step]["agent"],
            "confidence": self.confidence,
            "weights_fingerprint": weights_fingerprint() if self.by == LEARNED else None,
            "reason": self.reason,
            "unlikeness": self.unlikeness,
        }


def unlike(verdict: Verdict) -> bool:
    """Whether the log lies beyond the edge of what the localizer learned from."""
    return verdict.unlikeness is not None and verdict.unlikeness > 1


def turns_to_blame(log: Log) -> list[bool]:
    """Which of the log's turns may be named. In a run of our own every turn is an agent's, whatever it is called."""
    if log.trajectory["origin"] != "imported":
        return [True] * len(log.turns)
    able = dict(zip(_places(log), blamable(case_of(log)).tolist(), strict=True))
    return [able.get(turn, False) for turn in log.turns]


def _places(log: Log) -> list[int]:
    """Message indices of the steps of the log's case."""
    return [i for i, row in enumerate(log.messages) if row["kind"] not in ("system", "task")]


def _score(before: float | None, after: float | None, probability: float | None) -> float | None:
    if probability is not None:
        return -probability
    return None if before is None or after is None else after - before
