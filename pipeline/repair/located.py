"""What a localizer said of a failure, as rows of `steps` and `localizations`, and as the step that is repaired."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from apportion.pipeline.core.ids import seed_of
from apportion.pipeline.evaluation.folds import judge_unseen
from apportion.pipeline.localizers.base import Localizer, Means, Verdict
from apportion.pipeline.play.play import Played
from apportion.pipeline.trajectory.blamable import may_be_blamed
from apportion.pipeline.trajectory.case import Case, case_of
from apportion.pipeline.trajectory.log import Log

VERSION = 2
"""Goes up when the same imported log gives other rows. 1 could blame people, and fell back on the value."""
PLACE = "trajectory "
"""Before the id of a trajectory that was set aside, in `rejects`."""
UNLIKE = "the log is unlike those that the weights come from"
NOBODY = "only people and tools speak"


@dataclass(frozen=True)
class Located:
    """A failure, and what the localizer called `by` found.

    `step` is the message index of the step it names, whose speaker is to blame; `confidence` in [0, 1]. Where it names
    no step, `reason` says why. `values` are those of the prefixes, one more than there are turns; `probabilities` those
    of the turns to be the wrong one.
    """

    log: Log
    by: str
    method: Localizer
    step: int | None = None
    confidence: float | None = None
    values: Sequence[float | None] = ()
    probabilities: Sequence[float] = ()
    rewrites: Sequence[tuple[Played, bool | None]] = ()
    """Continuations that rewrote the wrong step, with their verdicts."""
    reason: str | None = None
    unlikeness: float | None = None

    @classmethod
    def of(
        cls, log: Log, case: Case, verdict: Verdict, by: str, method: Localizer, *, everywhere: bool, seed: int
    ) -> Located:
        """The best-scored step of an agent; ties are drawn by lot.

        Nothing, with a reason, where no agent speaks, where the localizer gives one, or where the log is unlike what it
        learned from and nobody asked for it to be read `everywhere`.
        """
        far = verdict.unlikeness
        far = far if far is not None and math.isfinite(far) else None
        may = may_be_blamed(case)
        able = may & (verdict.steps > -np.inf)
        reason = verdict.reason
        if unlike(verdict) and not everywhere:
            reason = UNLIKE
        if not able.any():
            reason = reason if may.any() and reason else NOBODY
        if reason is not None:
            return cls(log, by, method, values=verdict.values, reason=reason, unlikeness=far)
        best = np.flatnonzero(able & (verdict.steps == verdict.steps[able].max()))
        at = int(best[0] if len(best) == 1 else random.Random(seed_of(seed, "tie", by, log.trajectory_id)).choice(best))
        odds = verdict.probabilities
        confidence = verdict.confidence
        probabilities: list[float] = []
        if odds is not None:
            of_place = dict(zip(case.places, np.minimum(odds, 1.0).tolist(), strict=True))
            probabilities = [of_place.get(turn, 0.0) for turn in log.turns]
            confidence = of_place[case.places[at]] if confidence is None else confidence
        return cls(
            log, by, method, case.places[at], confidence, verdict.values, probabilities, verdict.rewrites, None, far
        )

    @property
    def agent(self) -> str | None:
        """Who is to blame."""
        return None if self.step is None else str(self.log.messages[self.step]["agent"])

    def steps(self, scorer: str | None) -> list[dict[str, Any]]:
        """Its rows of `steps`; none where it says nothing of any step. `scorer` is the model that was asked."""
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
            for turn, (before, after), probability in zip(turns, pairwise(values), wrong, strict=True)
        ]

    def row(self) -> dict[str, Any]:
        """Its row of `localizations`."""
        return {
            "trajectory_id": self.log.trajectory_id,
            "localizer": self.by,
            "target": self.method.target,
            "first_error": self.step,
            "agent": self.agent,
            "speaker": self.agent,
            "confidence": self.confidence,
            "weights_fingerprint": self.method.weights,
            "reason": self.reason,
            "unlikeness": self.unlikeness,
        }


def locate(
    logs: Sequence[Log],
    method: Localizer,
    by: str,
    labelled: Sequence[Case],
    means: Means,
    *,
    everywhere: bool,
) -> tuple[list[Located], list[dict[str, Any]]]:
    """What a localizer says of failures, and rows of `rejects` of those that it cannot judge.

    One that learns and comes without weights learns from `labelled` cases; no case is judged by what has learned from
    its own question.
    """
    cases = [case_of(log) for log in logs]
    known = labelled if method.learns and method.trained_on is None else ()
    located: list[Located] = []
    rejects: list[dict[str, Any]] = []
    for log, case, verdict in zip(logs, cases, judge_unseen(method, known, cases, means), strict=True):
        if verdict.refused is None:
            located.append(Located.of(log, case, verdict, by, method, everywhere=everywhere, seed=means.seed))
        else:
            place = f"{PLACE}{log.trajectory_id}"
            rejects.append({"stage": "failures", "file": place, "line": 0, "reason": verdict.refused})
    return located, rejects


def unlike(verdict: Verdict) -> bool:
    """Whether the log lies beyond the edge of what the localizer learned from."""
    return verdict.unlikeness is not None and verdict.unlikeness > 1


def _score(before: float | None, after: float | None, probability: float | None) -> float | None:
    if probability is not None:
        return -probability
    return None if before is None or after is None else after - before
