"""The rows of an evaluation: figures of every localizer by group of logs, and paired differences from the baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.evaluation import agentrx, metrics
from apportion.pipeline.evaluation.labelled import Annotator
from apportion.pipeline.evaluation.metrics import FIGURES, Estimate
from apportion.pipeline.localizers.base import Floats, Verdict
from apportion.pipeline.trajectory.case import Case

BASELINE = "structure"
"""What every other row is compared with."""
ALL = "all"
F1_FIGURES = ("F1", "wrong", "correct")
"""Columns of the figures on solutions: F1, accuracy on wrong ones and on correct ones."""
Cut = Callable[[Sequence[Case]], float | None]
Rows = list[dict[str, Any]]
_NO_ENDS = (float("nan"), float("nan"))


@dataclass(frozen=True)
class Report:
    """Rows of figures and of paired differences, and what a reader must know, a line each."""

    figures: Rows
    differences: Rows
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Judged:
    """A localizer's verdicts on all cases that figures are made of; `cut` gives the share of text it does not see."""

    name: str
    verdicts: Sequence[Verdict]
    cut: Cut


@dataclass(frozen=True)
class _Group:
    """Some of the cases: all, one kind of log, or one class of length."""

    by: str
    name: str
    inside: NDArray[np.bool_]

    @property
    def row(self) -> dict[str, Any]:
        return {"by": self.by, "logs": self.name, "n": int(self.inside.sum())}

    def of(self, cases: Sequence[Case]) -> list[Case]:
        return [case for case, inside in zip(cases, self.inside, strict=True) if inside]


def report_on_logs(cases: Sequence[Case], judged: Sequence[Judged], annotator: Annotator | None, seed: int) -> Report:
    """Figures of localizers on labelled failures, and of another annotator last."""
    groups = _groups(cases)
    figures: Rows = []
    marked: dict[str, Floats] = {}
    for one in judged:
        marked[one.name] = metrics.marks(cases, one.verdicts)
        rows = _figures(one.name, marked[one.name], cases, groups, seed, one.cut)
        figures += [row | {"unlike": _unlike(one.verdicts, group)} for row, group in zip(rows, groups, strict=True)]
    differences = _differences(marked, groups, seed)
    if annotator is not None:
        more, less = _annotated(annotator, cases, groups, marked[BASELINE], seed)
        figures, differences = figures + more, differences + less
    return Report(figures, differences)


def report_on_solutions(cases: Sequence[Case], judged: Sequence[Judged], seed: int) -> Report:
    """Figures of localizers on solutions with a first wrong step, or none: see `metrics.solutions`.

    The row "best mixture" is the highest F1 of a rule that looks at nothing, fitted to these labels
    (`metrics.best_mixture`).
    """
    sound = np.array([case.sound for case in cases])
    groups = [group for group in _groups(cases) if group.by != "length"]
    figures = [_mixture(group, cases, sound) for group in groups]
    right: dict[str, Floats] = {}
    for one in judged:
        right[one.name] = metrics.right_answers(cases, one.verdicts)
        for group in groups:
            inside = sound[group.inside]
            estimates = metrics.solutions(right[one.name][group.inside], inside, seed)
            row = {"localizer": one.name, **group.row, **_kinds(inside)}
            for name, estimate in zip(F1_FIGURES, estimates, strict=True):
                row |= dict(cells(name, estimate))
            figures.append(row | {"cut": one.cut(group.of(cases))})
    differences = [
        {"localizer": name, "against": BASELINE, **group.row}
        | dict(cells("F1", metrics.paired_f1(mine[i], right[BASELINE][i], sound[i], seed)))
        for name, mine in right.items()
        if name != BASELINE
        for group in groups
        for i in [group.inside]
    ]
    return Report(figures, differences)


def cells(name: str, estimate: Estimate) -> list[tuple[str, float]]:
    """A figure and the ends of its interval, as columns."""
    return [(name, estimate.value), (f"{name}_low", estimate.low), (f"{name}_high", estimate.high)]


def _groups(cases: Sequence[Case]) -> list[_Group]:
    """All, then each kind of log where there are several, then the classes of length."""
    sources = np.array([case.source for case in cases])
    lengths = np.array([metrics.bucket(case) for case in cases])
    groups = [_Group(ALL, ALL, np.ones(len(cases), dtype=bool))]
    if len(set(sources)) > 1:
        groups += [_Group("source", name, sources == name) for name in sorted(set(sources))]
    by_length = sorted(set(lengths), key=lambda name: min(len(c.steps) for c in cases if metrics.bucket(c) == name))
    return groups + [_Group("length", f"{name} steps", lengths == name) for name in by_length]


def _kinds(sound: NDArray[np.bool_]) -> dict[str, int]:
    return {"n_wrong": int((~sound).sum()), "n_correct": int(sound.sum())}


def _mixture(group: _Group, cases: Sequence[Case], sound: NDArray[np.bool_]) -> dict[str, Any]:
    places = [case.label.step for case in group.of(cases) if case.label]
    f1, none, step = metrics.best_mixture(places)
    hit = places.count(step) / len(places) if places else 0.0
    values = zip(F1_FIGURES, (f1, (1 - none) * hit, none), strict=True)
    figures = {key: cell for name, value in values for key, cell in cells(name, Estimate(value, *_NO_ENDS))}
    return {"localizer": "best mixture", **group.row, **_kinds(sound[group.inside]), **figures, "cut": None}


def _unlike(verdicts: Sequence[Verdict], group: _Group) -> float | None:
    """Share of the logs that are unlike what the localizer learned from; None where it cannot tell."""
    far = [one.unlikeness for one, inside in zip(verdicts, group.inside, strict=True) if inside]
    return sum(one > 1 for one in far if one is not None) / len(far) if far and None not in far else None


def _figures(
    name: str, marked: Floats, cases: Sequence[Case], groups: Sequence[_Group], seed: int, cut: Cut | None
) -> Rows:
    rows = []
    for group in groups:
        row = {"localizer": name, **group.row}
        for figure, estimate in zip(FIGURES, metrics.means(marked[group.inside], seed), strict=True):
            row |= dict(cells(figure, estimate))
        rows.append(row | {"cut": cut(group.of(cases)) if cut else None, "unlike": None})
    return rows


def _differences(marked: Mapping[str, Floats], groups: Sequence[_Group], seed: int) -> Rows:
    """Of every localizer's MRR and the baseline's, on the same cases."""
    at = FIGURES.index("MRR")
    base = marked[BASELINE][:, at]
    return [
        {"localizer": name, "against": BASELINE, **group.row}
        | dict(cells("MRR", metrics.paired(mine[group.inside, at], base[group.inside], seed)))
        for name, mine in marked.items()
        if name != BASELINE
        for group in groups
    ]


def _annotated(
    annotator: Annotator, cases: Sequence[Case], groups: Sequence[_Group], base: Floats, seed: int
) -> tuple[Rows, Rows]:
    """The rows of another annotator, on the cases that both labelled."""
    both = np.array([case.case_id in annotator.labels for case in cases], dtype=bool)
    asked = [case for case, inside in zip(cases, both, strict=True) if inside]
    if not asked:
        return [], []
    marked = metrics.marks(asked, [agentrx.verdict(case, annotator.labels[case.case_id]) for case in asked])
    name = f"{annotator.name} (n={len(asked)})"
    inside = [
        _Group(group.by, group.name, group.inside[both])
        for group in groups
        if group.by != "length" and group.inside[both].any()
    ]
    differences = _differences({name: marked, BASELINE: base[both]}, inside, seed)
    return _figures(name, marked, asked, inside, seed, None), differences
