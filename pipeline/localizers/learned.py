"""The learned localizer: a ranker over steps on signals of the text, with weights that come with the package."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from pydantic import PrivateAttr

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest
from apportion.pipeline.localizers.base import UNTRAINED, Floats, Localizer, Means, Verdict, by_step, fitted
from apportion.pipeline.localizers.ranking.likeness import Likeness
from apportion.pipeline.localizers.ranking.ranker import Options, Ranker, fit_averaged
from apportion.pipeline.localizers.signals import TEXT
from apportion.pipeline.localizers.signals.base import Features
from apportion.pipeline.trajectory.blamable import blamable
from apportion.pipeline.trajectory.case import Case, labelled_place

WEIGHTS = Path(__file__).parent / "weights" / "text.json"
STEP_PRIOR = 3.0
"""Precision of the Gaussian prior on the weights."""


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
        turns = np.array([column.startswith("turns.") for column in self.features.columns])
        return fit_averaged(options, STEP_PRIOR, always=turns)

    def _verdict(self, case: Case, x: Floats) -> Verdict:
        able = blamable(case)
        steps = np.full(len(x), -math.inf)
        ranker = self._ranker_for(case)
        if able.any():  # over those that can be to blame, so that their probabilities sum to 1
            steps[able] = ranker.log_p(x[able]) if ranker is not None else -math.log(able.sum())
        far = self.likeness.unlikeness(case) if self.likeness else None
        reason = None if ranker is not None else UNTRAINED
        return by_step(case, steps, unlikeness=far, probabilities=np.exp(steps), reason=reason)

    def _ranker_for(self, case: Case) -> Ranker | None:
        """The weights that have not seen the case's question, where there are such."""
        return next((fold.steps for fold in self.folds if case.question_id in fold.questions), self.steps)

    @classmethod
    def load(cls, path: Path, features: Features) -> StepRanker:
        """The localizer of a weights file. Raises UserError where the file is none, or is for other columns."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            versions, scorer, columns = dict(record["signals"]), record["scorer"], list(record["steps"])
            steps = _weights(record["steps"].values(), len(columns))
            trained = frozenset(map(str, record["trained_on"]))
            folds = tuple(
                Fold(frozenset(map(str, fold["without"])), _weights(fold["steps"], len(columns)))
                for fold in record["folds"]
            )
            likeness = Likeness.read(record["corpus"]) if record["corpus"] is not None else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: no weights of a learned localizer ({error})") from error
        if (columns, versions, scorer) != (features.columns, features.versions, features.scorer):
            raise UserError(f"{path}: its weights are for other signals than these, or another scorer; train them anew")
        return cls(features, steps, trained, folds, likeness)


class Learned(Localizer):
    """log p(step | log) of conditional logits over the signals' columns, averaged over parts of the columns; an agent
    is as suspect as its likeliest step.

    Annotators hardly ever blame another agent than the speaker of the decisive step, and a ranker of its own over
    agents found no more (docs/evaluate.md). A question that the weights were trained on is judged by weights that were
    fitted without it. How far a log is from those that the weights come from stands in the verdict. People, tools and
    environments are never named.

    Status: ours. Degenerate: a log of one step or agent has only one answer; a log without steps gets an empty verdict.
    Cost: the signals', linear in the text; the ranker itself takes milliseconds per log.
    """

    learns: ClassVar[bool] = True
    _ranker: StepRanker | None = PrivateAttr(default=None)

    @property
    def ranker(self) -> StepRanker:
        """What was fitted; before, what comes with the package."""
        return self._ranker or _shipped()

    @property
    def trained_on(self) -> frozenset[str] | None:
        return self.ranker.trained_on

    @property
    def weights(self) -> str | None:
        return _fingerprint()

    def fit(self, cases: Sequence[Case], means: Means) -> Self:
        """A copy with weights of its own, from labelled cases; cases without a label are left out."""
        return fitted(self, _ranker=self.ranker.fit(cases))

    def judge(self, cases: Sequence[Case], means: Means) -> list[Verdict]:
        return self.ranker.judge(cases)

    def cut_share(self, cases: Sequence[Case], means: Means) -> float | None:
        """Nothing: it is told beside those of localizers that read in a window."""
        return 0.0


@cache
def _shipped() -> StepRanker:
    return StepRanker.load(WEIGHTS, Features(TEXT))


@cache
def _fingerprint() -> str:
    return digest(WEIGHTS.read_text(encoding="utf-8"))


def options_of(case: Case, x: Floats) -> Options:
    """The steps of a labelled case as options, with the columns `x` (steps, columns) of its features."""
    return Options(x, labelled_place(case))


def _weights(values: Iterable[float], columns: int) -> Ranker:
    weights = np.array(list(values), dtype=float)
    if weights.shape != (columns,) or not np.isfinite(weights).all():
        raise ValueError("a weight is no finite number, or they are not one per column")
    return Ranker(weights)
