"""The rows of an evaluation: figures of every localizer by group of logs, and paired differences from the baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.evaluation import metrics
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
    marked = {one.name: metrics.marks(cases, one.verdicts) for one in judged}
    figures = [
        _log_row(one.name, group, marked[one.name], seed)
        | {"cut": one.cut(group.of(cases)), "unlike": _unlike(one.verdicts, group)}
        for one in judged
        for group in groups
    ]
    differences = _mrr_differences(marked, groups, seed)
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
    right = {one.name: metrics.right_answers(cases, one.verdicts) for one in judged}

    def row(name: str, group: _Group, estimates: Sequence[Estimate], cut: float | None) -> dict[str, Any]:
        inside = sound[group.inside]
        kinds = {"n_wrong": int((~inside).sum()), "n_correct": int(inside.sum())}
        return {"localizer": name, **group.row, **kinds, **_cells(F1_FIGURES, estimates), "cut": cut}

    figures = [row("best mixture", group, _mixture(group.of(cases)), None) for group in groups]
    for one in judged:
        for group in groups:
            estimates = metrics.solutions(right[one.name][group.inside], sound[group.inside], seed)
            figures.append(row(one.name, group, estimates, one.cut(group.of(cases))))

    def difference(inside: NDArray[np.bool_], first: Floats, second: Floats) -> Estimate:
        return metrics.paired_f1(first[inside], second[inside], sound[inside], seed)

    return Report(figures, _differences(right, groups, "F1", difference))


def _cells(figures: Sequence[str], estimates: Sequence[Estimate]) -> dict[str, float]:
    """Figures and the ends of their intervals, as columns."""
    cells: dict[str, float] = {}
    for name, estimate in zip(figures, estimates, strict=True):
        cells |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return cells


def _log_row(name: str, group: _Group, marked: Floats, seed: int) -> dict[str, Any]:
    return {"localizer": name, **group.row, **_cells(FIGURES, metrics.means(marked[group.inside], seed))}


def _groups(cases: Sequence[Case]) -> list[_Group]:
    """All, then each kind of log where there are several, then the classes of length."""
    sources = np.array([case.source for case in cases])
    lengths = np.array([metrics.bucket(case) for case in cases])
    groups = [_Group(ALL, ALL, np.ones(len(cases), dtype=bool))]
    if len(set(sources)) > 1:
        groups += [_Group("source", name, sources == name) for name in sorted(set(sources))]
    by_length = dict.fromkeys(metrics.bucket(case) for case in sorted(cases, key=lambda case: len(case.steps)))
    return groups + [_Group("length", f"{name} steps", lengths == name) for name in by_length]


def _mixture(cases: Sequence[Case]) -> list[Estimate]:
    places = [case.label.step for case in cases if case.label]
    f1, none, step = metrics.best_mixture(places)
    hit = places.count(step) / len(places) if places else 0.0
    return [Estimate(value, np.nan, np.nan) for value in (f1, (1 - none) * hit, none)]


def _unlike(verdicts: Sequence[Verdict], group: _Group) -> float | None:
    """Share of the logs that are unlike what the localizer learned from; None where it cannot tell."""
    far = [one.unlikeness for one, inside in zip(verdicts, group.inside, strict=True) if inside]
    return sum(one > 1 for one in far if one is not None) / len(far) if far and None not in far else None


def _differences(
    figures: Mapping[str, Floats], groups: Sequence[_Group], name: str,
    difference: Callable[[NDArray[np.bool_], Floats, Floats], Estimate],
) -> Rows:  # fmt: skip
    """Of every localizer and the baseline, on the same cases. `figures`: a value per case."""
    return [
        {"localizer": localizer, "against": BASELINE, **group.row}
        | _cells([name], [difference(group.inside, values, figures[BASELINE])])
        for localizer, values in figures.items()
        if localizer != BASELINE
        for group in groups
    ]


def _mrr_differences(marked: Mapping[str, Floats], groups: Sequence[_Group], seed: int) -> Rows:
    ranks = {name: figures[:, FIGURES.index("MRR")] for name, figures in marked.items()}
    return _differences(ranks, groups, "MRR", lambda inside, a, b: metrics.paired(a[inside], b[inside], seed))


def _annotated(
    annotator: Annotator, cases: Sequence[Case], groups: Sequence[_Group], base: Floats, seed: int
) -> tuple[Rows, Rows]:
    """The rows of another annotator, on the cases that both labelled."""
    both = np.array([case.case_id in annotator.labels for case in cases], dtype=bool)
    asked = [case for case, inside in zip(cases, both, strict=True) if inside]
    if not asked:
        return [], []
    marked = metrics.marks(asked, [annotator.verdict(case) for case in asked])
    name = f"{annotator.name} (n={len(asked)})"
    inside = [
        _Group(group.by, group.name, group.inside[both])
        for group in groups
        if group.by != "length" and group.inside[both].any()
    ]
    rows = [_log_row(name, group, marked, seed) | {"cut": None, "unlike": None} for group in inside]
    return rows, _mrr_differences({name: marked, BASELINE: base[both]}, inside, seed)
