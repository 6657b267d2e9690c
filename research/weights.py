"""The file that the weights of `learned` travel in, written: the package reads it alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from apportion.pipeline.localizers.learned import Fold, StepRanker
from apportion.pipeline.localizers.ranking.likeness import COLUMNS, Likeness
from apportion.pipeline.trajectory.case import Case


def with_folds(ranker: StepRanker, cases: Sequence[Case], folds: Sequence[int]) -> StepRanker:
    """A copy that has weights for each fold of its training cases, fitted without that fold's questions."""
    made = []
    for fold in sorted(set(folds)):
        rest = [case for case, other in zip(cases, folds, strict=True) if other != fold]
        without = frozenset(case.question_id for case, other in zip(cases, folds, strict=True) if other == fold)
        steps = replace(ranker, folds=()).fit(rest).steps
        if steps is not None:
            made.append(Fold(without, steps))
    return replace(ranker, folds=tuple(made))


def save(ranker: StepRanker, path: Path, figures: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Weights, what they belong to and what they have seen, as JSON."""
    if ranker.steps is None:
        raise ValueError("nothing has been learned yet")
    record = {
        "format": 3,
        "signals": ranker.features.versions,
        "scorer": ranker.features.scorer,
        "steps": dict(zip(ranker.features.columns, ranker.steps.weights.tolist(), strict=True)),
        "trained_on": sorted(ranker.trained_on),
        "figures": dict(figures),
        "folds": [{"without": sorted(fold.questions), "steps": fold.steps.weights.tolist()} for fold in ranker.folds],
        "corpus": _record(ranker.likeness) if ranker.likeness else None,
    }
    path.write_text(_json(record) + "\n", encoding="utf-8")


def _record(likeness: Likeness) -> dict[str, Any]:
    return {
        "words": sorted(likeness.words),
        "questions": list(likeness.questions),
        "columns": list(COLUMNS),
        "rows": [[round(value, 6) for value in row] for row in likeness.rows.tolist()],
        "scale": likeness.scale.tolist(),
        "edge": likeness.edge,
    }


def _json(record: Mapping[str, Any]) -> str:
    """Indented, but lists of numbers on one line each."""
    return re.sub(
        r"\[\s+([^][{}\"]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", json.dumps(record, indent=1)
    )
