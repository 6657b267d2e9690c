"""A ranker over the steps of a log on all signals, read from the file that its weights travel in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.localizers.base import UNTRAINED, Floats, Verdict
from apportion.pipeline.localizers.ranking.likeness import Likeness
from apportion.pipeline.localizers.ranking.ranker import Options, Ranker
from apportion.pipeline.localizers.ranking.subspaces import fit_averaged
from apportion.pipeline.localizers.signals.base import Features
from apportion.pipeline.trajectory.blamable import blamable
from apportion.pipeline.trajectory.case import Case

STEP_PRIOR = 3.0
"""Precision of the Gaussian prior on the weights."""
ALWAYS = "turns"
"""The signal whose columns every member of the ranker sees."""


@dataclass(frozen=True)
class Fold:
    """Weights that were fitted without some `questions` (ids)."""

    questions: frozenset[str]
    steps: Ranker


@dataclass(frozen=True)
class StepRanker:
    """A ranker over steps. `trained_on` holds the ids of the questions that the weights have seen, `folds` the weights
    for these, `likeness` what the logs were like."""

    features: Features
    steps: Ranker | None = None
    trained_on: frozenset[str] = frozenset()
    folds: tuple[Fold, ...] = ()
    likeness: Likeness | None = None

    def fit(self, cases: Sequence[Case]) -> StepRanker:
        """A copy that has learned from labelled cases; cases without a label are left out."""
        known = [case for case in cases if case.label is not None and case.steps]
        if not known:
            return replace(self, steps=None, trained_on=frozenset(), folds=(), likeness=None)
        options = [options_of(case, x) for case, x in zip(known, self.features.of(known), strict=True)]
        seen = frozenset(case.question_id for case in known)
        like = Likeness.of(known)
        return replace(self, steps=self.fit_steps(options), trained_on=seen, folds=(), likeness=like)

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """One verdict a case, in order: log p of every step, and of every agent's likeliest one."""
        return [self._verdict(case, x) for case, x in zip(cases, self.features.of(cases), strict=True)]

    def fit_steps(self, options: Sequence[Options]) -> Ranker:
        """The ranker over steps alone, from `options_of` labelled cases."""
        always = np.array([column.split(".")[0] == ALWAYS for column in self.features.columns])
        return fit_averaged(options, STEP_PRIOR, always)

    def _verdict(self, case: Case, x: Floats) -> Verdict:
        if not case.steps:
            return Verdict(np.zeros(0), {})
        able = blamable(case)
        steps = np.full(len(x), -math.inf)
        ranker = self._ranker_for(case)
        if able.any():  # over those that can be to blame, so that their probabilities sum to 1
            steps[able] = ranker.log_p(x[able]) if ranker is not None else -math.log(able.sum())
        agents: dict[str, float] = {}
        for step, log_p in zip(case.steps, steps.tolist(), strict=True):
            agents[step.agent] = max(log_p, agents.get(step.agent, -math.inf))
        far = self.likeness.unlikeness(case) if self.likeness else None
        reason = None if ranker is not None else UNTRAINED
        return Verdict(steps, agents, unlikeness=far, probabilities=np.exp(steps), reason=reason)

    def _ranker_for(self, case: Case) -> Ranker | None:
        """The weights that have not seen the case's question, where there are such."""
        return next((fold.steps for fold in self.folds if case.question_id in fold.questions), self.steps)

    @classmethod
    def load(cls, path: Path, features: Features) -> StepRanker:
        """The localizer of a weights file. Raises UserError where the file is none, or is for other columns."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            versions, scorer = dict(record["signals"]), record["scorer"]
            steps = _weights(record["steps"])
            trained = frozenset(map(str, record["trained_on"]))
            folds = tuple(_fold(one, len(steps)) for one in record["folds"])
            likeness = Likeness.read(record["corpus"]) if record["corpus"] is not None else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: no weights of a learned localizer ({error})") from error
        if list(steps) != features.columns or versions != features.versions:
            raise UserError(f"{path}: its weights are for other signals than these; train them anew")
        if scorer != features.scorer:
            raise UserError(
                f"{path}: its weights were learned with another scorer than this model; use that model, train the "
                "weights anew, or use weights that need no scorer"
            )
        return cls(features, Ranker(np.array(list(steps.values()))), trained, folds, likeness)


def options_of(case: Case, x: Floats) -> Options:
    """The steps of a labelled case as options, with the columns `x` (steps, columns) of its features."""
    assert case.label is not None
    at = next((i for i, step in enumerate(case.steps) if step.index == case.label.step), None)
    return Options(x, at)


def _weights(record: Mapping[str, Any]) -> dict[str, float]:
    weights = {str(name): float(weight) for name, weight in record.items()}
    if not all(map(math.isfinite, weights.values())):
        raise ValueError("a weight is no finite number")
    return weights


def _fold(record: Mapping[str, Any], columns: int) -> Fold:
    weights = np.array(record["steps"], dtype=float)
    if weights.shape != (columns,) or not np.isfinite(weights).all():
        raise ValueError("the weights of a fold are no finite numbers, one a column")
    return Fold(frozenset(map(str, record["without"])), Ranker(weights))
