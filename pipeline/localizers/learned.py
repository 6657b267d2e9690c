"""The learned localizer: a ranker over steps on all signals, and an agent is as suspect as its likeliest step.

Steps: log p(step | log) of conditional logits over the signals' columns, averaged over parts of the columns
(`localizers.subspaces`). Agents: the largest log p among the agent's steps. Annotators hardly ever blame another
agent than the speaker of the decisive step, and a ranker of its own over agents found no more (docs/evaluate.md).

A question that the weights were trained on is judged by weights that were fitted without it, where there are such
(`Fold`). How far a log is from those that the weights come from (`localizers.likeness`) stands in the verdict.
People, tools and environments are never named (`localizers.blamable`).

Status: ours. Degenerate: before it has learned, every step and agent is equally likely; a log of one step or agent
has only one answer. A log without steps gets an empty verdict.
Cost: the signals'; the ranker itself takes milliseconds a log.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest
from apportion.pipeline.localizers.base import Verdict
from apportion.pipeline.localizers.blamable import blamable
from apportion.pipeline.localizers.features import Features
from apportion.pipeline.localizers.likeness import Likeness
from apportion.pipeline.localizers.ranker import Options, Ranker
from apportion.pipeline.localizers.signals import TEXT
from apportion.pipeline.localizers.subspaces import fit_averaged
from apportion.pipeline.trajectory.case import Case

Floats = NDArray[np.float64]

NAME = "learned"
STEP_PRIOR = 3.0
"""Precision of the Gaussian prior on the weights."""
ALWAYS = "turns"
"""The signal whose columns every member of the ranker sees."""
WEIGHTS = Path(__file__).parent / "weights" / "text.json"


@dataclass(frozen=True)
class Fold:
    """Weights that were fitted without some `questions` (ids)."""

    questions: frozenset[str]
    steps: Ranker


@dataclass(frozen=True)
class Learned:
    """A ranker over steps. `trained_on` holds the ids of the questions that the weights have seen, `folds` the weights
    for these, `likeness` what the logs were like."""

    features: Features
    steps: Ranker | None = None
    trained_on: frozenset[str] = frozenset()
    folds: tuple[Fold, ...] = ()
    likeness: Likeness | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    name: str = NAME

    def fit(self, cases: Sequence[Case]) -> Learned:
        """A copy that has learned from labelled cases; cases without a label are left out."""
        known = [case for case in cases if case.label is not None and case.steps]
        if not known:
            return replace(self, steps=None, trained_on=frozenset(), folds=(), likeness=None, figures={})
        options = [options_of(case, x) for case, x in zip(known, self.features.of(known), strict=True)]
        seen = frozenset(case.question_id for case in known)
        like = Likeness.of(known)
        return replace(self, steps=self.fit_steps(options), trained_on=seen, folds=(), likeness=like, figures={})

    def with_folds(self, cases: Sequence[Case], folds: Sequence[int]) -> Learned:
        """A copy that has weights for each fold of its training cases, fitted without that fold's questions."""
        made = []
        for fold in sorted(set(folds)):
            rest = [case for case, one in zip(cases, folds, strict=True) if one != fold]
            without = frozenset(case.question_id for case, one in zip(cases, folds, strict=True) if one == fold)
            fitted = replace(self, folds=()).fit(rest)
            if fitted.steps is not None:
                made.append(Fold(without, fitted.steps))
        return replace(self, folds=tuple(made))

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """One verdict a case, in order: log p of every step, and of every agent's likeliest one."""
        return [self._verdict(case, x) for case, x in zip(cases, self.features.of(cases), strict=True)]

    def speaks_of(self, case: Case) -> bool:
        """Whether the log is like those that the weights come from, so that what is known of them holds for it."""
        return self.likeness is None or self.likeness.unlikeness(case) <= 1

    def cut_share(self, cases: Sequence[Case]) -> float:
        """Share of the logs' text that a scorer did not see; 0 where the signals ask none."""
        return self.features.cut_share(cases)

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
        return Verdict(steps, agents, unlikeness=self.likeness.unlikeness(case) if self.likeness else None)

    def _ranker_for(self, case: Case) -> Ranker | None:
        """The weights that have not seen the case's question, where there are such."""
        return next((fold.steps for fold in self.folds if case.question_id in fold.questions), self.steps)

    def save(self, path: Path) -> None:
        """Weights, what they belong to and what they have seen, as JSON."""
        if self.steps is None:
            raise ValueError("nothing has been learned yet")
        record = {
            "format": 3,
            "signals": {signal.name: signal.version for signal in self.features.signals},
            "scorer": self.features.fingerprint if self.features.needs_model else None,
            "steps": dict(zip(self.features.columns, self.steps.weights.tolist(), strict=True)),
            "trained_on": sorted(self.trained_on),
            "figures": dict(self.figures),
            "folds": [{"without": sorted(fold.questions), "steps": fold.steps.weights.tolist()} for fold in self.folds],
            "corpus": self.likeness.record() if self.likeness else None,
        }
        path.write_text(_json(record) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path, features: Features) -> Learned:
        """The localizer of a weights file. Raises UserError where the file is none, or is for other columns."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            versions, scorer = dict(record["signals"]), record["scorer"]
            steps = _weights(record["steps"])
            trained = frozenset(map(str, record["trained_on"]))
            figures = dict(record["figures"])
            folds = tuple(_fold(one, len(steps)) for one in record["folds"])
            likeness = Likeness.read(record["corpus"]) if record["corpus"] is not None else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: no weights of a learned localizer ({error})") from error
        if list(steps) != features.columns or versions != {one.name: one.version for one in features.signals}:
            raise UserError(f"{path}: its weights are for other signals than these; train them anew")
        if features.needs_model and scorer != features.fingerprint:
            raise UserError(
                f"{path}: its weights were learned with another scorer than this model; use that model, train the "
                "weights anew, or use weights that need no scorer"
            )
        return cls(features, Ranker(np.array(list(steps.values()))), trained, folds, likeness, figures)


def shipped(cache: Path | None = None) -> Learned:
    """The localizer with the weights that come with the project; `cache` is a folder for its signals."""
    return Learned.load(WEIGHTS, Features(TEXT, cache=cache))


@cache
def weights_fingerprint() -> str:
    """Digest of the weights that come with the project."""
    return digest(WEIGHTS.read_text(encoding="utf-8"))


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


def _json(record: Mapping[str, Any]) -> str:
    """Indented, but lists of numbers on one line each."""
    return re.sub(
        r"\[\s+([^][{}\"]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", json.dumps(record, indent=1)
    )
