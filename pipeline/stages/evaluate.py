"""Stage: labelled logs -> figures of every localizer, or of every checker of solutions. Nothing is stored."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.progress import watcher
from apportion.pipeline.core.registry import family
from apportion.pipeline.evaluation import agentrx, metrics
from apportion.pipeline.evaluation.folds import cross_validate, folds_by_question, unlabelled
from apportion.pipeline.evaluation.metrics import FIGURES, Estimate
from apportion.pipeline.evaluation.worth import WORTH
from apportion.pipeline.localizers.base import Localizer, Verdict
from apportion.pipeline.localizers.floors import labelled_place
from apportion.pipeline.localizers.load import BASELINE, Context, Cuts, Refuses, Shipped, checkers, localizers
from apportion.pipeline.trajectory.case import Case, Label, case_of
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.trajectory.task import Reject, make_task

Floats = NDArray[np.float64]

ALL = "all"
F1_FIGURES = ("F1", "wrong", "correct")
"""Columns of the figures on solutions: F1, accuracy on wrong ones and on correct ones."""


@dataclass(frozen=True)
class Read:
    """Logs as cases; `runs` holds the `question_ID` of those that have one, by case_id. `notes`: what a reader of the
    import must know, a line each."""

    cases: tuple[Case, ...]
    rejects: tuple[Reject, ...]
    runs: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Annotator:
    """Another person's labels of some of the cases, by case_id: what people agree on is the ceiling."""

    name: str
    labels: Mapping[str, Label]


@dataclass(frozen=True)
class Choices:
    """How to evaluate. `names`: the localizers that are asked for; none: all."""

    names: tuple[str, ...] = ()
    cross_validate: bool = False
    folds: int = 10
    without_reference: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Report:
    """Rows of figures and of paired differences, and what a reader must know, a line each."""

    figures: list[dict[str, Any]]
    differences: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


def read(format: str, path: Path) -> Read:
    """The logs under `path` as cases, in the order of the files. Raises UserError if there is none."""
    imported = family("importers").make(format).read(path)
    tasks = {row["task_id"]: row for row in imported.tasks}
    messages: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in imported.messages:
        messages[row["trajectory_id"]].append(row)
    cases, runs = [], {}
    for trajectory in imported.trajectories:
        row = tasks[trajectory["task_id"]]
        task = make_task(row["question"], row["references"], source=row["source"], split=row["split"])
        case = case_of(Log(trajectory, messages[trajectory["trajectory_id"]], task))
        cases.append(case)
        named = json.loads(trajectory.get("labels") or "{}").get("question_ID")
        if named is not None:
            runs[case.case_id] = str(named)
    return Read(tuple(cases), tuple(imported.rejects), runs, tuple(imported.notes))


def second_annotator(path: Path, logs: Read, name: str = "second annotator") -> tuple[Annotator, tuple[Reject, ...]]:
    """AgentRx's labels of those of the logs that have one. Raises UserError if none has."""
    annotations = agentrx.read(path)
    labels = agentrx.join(annotations, logs.cases, logs.runs)
    if not labels:
        raise UserError(
            f"{path}: none of its {len(annotations.labels)} runs is among the hand-crafted logs (`trajectory_id` is "
            "their `question_ID`); give the logs that it annotates"
        )
    return Annotator(name, labels), annotations.rejects


def evaluate(
    context: Context,
    cases: Sequence[Case],
    choices: Choices,
    *,
    held_to: Annotator | None = None,
    annotator: Annotator | None = None,
) -> Report:
    """Figures of every localizer on labelled cases, floors first, and of another annotator last.

    A localizer that comes with weights is judged on questions that these have not seen; the others, and all with
    `cross_validate`, are trained on the cases of other questions, by folds. All rows are figures on the same cases.
    `held_to`: whose labels count, instead of the cases' own; training uses the cases' own.
    Cost: what the localizers cost; folds x training for those that learn.
    """
    known = [_shown(case, choices) for case in cases if labelled_place(case) is not None]
    notes = [] if len(known) == len(cases) else [f"{len(cases) - len(known)} logs have no label: left out"]
    chosen = localizers(context, choices.names)
    kept = unseen(chosen, known, choices, notes)
    if held_to is not None:
        kept &= np.array([case.case_id in held_to.labels for case in known])
        if not kept.any():
            raise UserError(f"none of the {len(known)} logs has a label of the {held_to.name}")
    asked = [case for case, keep in zip(known, kept, strict=True) if keep]
    if held_to is not None:
        asked = [replace(case, label=held_to.labels[case.case_id]) for case in asked]
    groups = _groups(asked)
    notes += [f"what {one.name} is worth on logs of others: {WORTH[one.name]}" for one in chosen if one.name in WORTH]
    figures: list[dict[str, Any]] = []
    marked: dict[str, Floats] = {}
    for localizer, verdicts in _judged(chosen, known, choices):
        judged = [verdict for verdict, keep in zip(verdicts, kept, strict=True) if keep]
        marked[localizer.name] = metrics.marks(asked, judged)
        cut = localizer.cut_share if isinstance(localizer, Cuts) else None
        rows = _figures(localizer.name, marked[localizer.name], asked, groups, choices.seed, cut)
        figures += [row | {"unlike": _unlike(judged, group)} for row, group in zip(rows, groups, strict=True)]
    differences = _differences(marked, groups, choices.seed)
    if annotator is not None:
        _add_annotator(annotator, asked, groups, marked[BASELINE], choices.seed, figures, differences)
    return Report(figures, differences, [*notes, *_refused(chosen)])


def evaluate_solutions(context: Context, cases: Sequence[Case], choices: Choices) -> Report:
    """Figures of every checker on solutions with a first wrong step, or none: see `metrics.solutions`.

    The row "best mixture" is the highest F1 of a rule that looks at nothing, fitted to these labels
    (`metrics.best_mixture`). Training, weights and folds as in `evaluate`.
    """
    known = [_shown(case, choices) for case in cases if case.sound or labelled_place(case) is not None]
    notes = [] if len(known) == len(cases) else [f"{len(cases) - len(known)} solutions have no label: left out"]
    chosen = checkers(context, choices.names)
    kept = unseen(chosen, known, choices, notes)
    asked = [case for case, keep in zip(known, kept, strict=True) if keep]
    sound = np.array([case.sound for case in asked])
    groups = [group for group in _groups(asked) if group.by != "length"]
    figures: list[dict[str, Any]] = []
    right: dict[str, Floats] = {}
    for group in groups:
        places = [case.label.step for case, inside in zip(asked, group.inside, strict=True) if inside and case.label]
        f1, none, step = metrics.best_mixture(places)
        hit = places.count(step) / len(places) if places else 0.0
        values = dict(zip(F1_FIGURES, (f1, (1 - none) * hit, none), strict=True))
        inside = sound[group.inside]
        figures.append(
            {"localizer": "best mixture", **group.row, **_kinds(inside)}
            | {key: value for name in F1_FIGURES for key, value in _cells(name, Estimate(values[name], *_NO_ENDS))}
            | {"cut": None}
        )
    for checker, verdicts in _judged(chosen, known, choices):
        judged = [verdict for verdict, keep in zip(verdicts, kept, strict=True) if keep]
        mine = right[checker.name] = metrics.right_answers(asked, judged)
        for group in groups:
            inside = sound[group.inside]
            estimates = metrics.solutions(mine[group.inside], inside, choices.seed)
            figures.append(
                {
                    "localizer": checker.name,
                    **group.row,
                    "n_wrong": int((~inside).sum()),
                    "n_correct": int(inside.sum()),
                }
                | {k: v for name, one in zip(F1_FIGURES, estimates, strict=True) for k, v in _cells(name, one)}
                | {"cut": checker.cut_share(_pick(asked, group)) if isinstance(checker, Cuts) else None}
            )
    differences = [
        {"localizer": name, "against": BASELINE, **group.row}
        | dict(_cells("F1", metrics.paired_f1(mine[i], right[BASELINE][i], sound[i], choices.seed)))
        for name, mine in right.items()
        if name != BASELINE
        for group in groups
        for i in [group.inside]
    ]
    return Report(figures, differences, [*notes, *_refused(chosen)])


@dataclass(frozen=True)
class _Group:
    """Some of the cases: all, one kind of log, or one class of length."""

    by: str
    name: str
    inside: NDArray[np.bool_]

    @property
    def row(self) -> dict[str, Any]:
        return {"by": self.by, "logs": self.name, "n": int(self.inside.sum())}


_NO_ENDS = (float("nan"), float("nan"))


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


def _pick(cases: Sequence[Case], group: _Group) -> list[Case]:
    return [case for case, inside in zip(cases, group.inside, strict=True) if inside]


def _refused(chosen: Sequence[Localizer]) -> list[str]:
    return [line for one in chosen if isinstance(one, Refuses) for line in dict.fromkeys(one.refused)]


def _shown(case: Case, choices: Choices) -> Case:
    return replace(case, reference=None) if choices.without_reference else case


def unseen(chosen: Sequence[Localizer], cases: Sequence[Case], choices: Choices, notes: list[str]) -> NDArray[np.bool_]:
    """Which cases no shipped weights have seen; a line about the others goes to `notes`."""
    if choices.cross_validate:
        return np.ones(len(cases), dtype=bool)
    shipped = {one.name: one.trained_on for one in chosen if isinstance(one, Shipped)}
    seen = frozenset().union(*shipped.values()) if shipped else frozenset()
    kept = np.array([case.question_id not in seen for case in cases], dtype=bool)
    if kept.all():
        return kept
    who = ", ".join(name for name, questions in shipped.items() if questions)
    told = f"{int((~kept).sum())} of {len(cases)} logs ask questions that shipped weights were trained on ({who})"
    if not kept.any():
        raise UserError(f"{told}, so nothing is left to evaluate on; --cross-validate trains anew without each fold")
    notes.append(f"{told}: they are left out; --cross-validate trains anew and uses all")
    return kept


def _judged(
    chosen: Sequence[Localizer], cases: Sequence[Case], choices: Choices
) -> Iterator[tuple[Localizer, Sequence[Verdict]]]:
    """Each localizer with its verdicts on all cases."""
    done = watcher().start("localizers", len(chosen))
    folds = folds_by_question(cases, choices.folds, choices.seed)
    for one in chosen:
        if isinstance(one, Shipped) and not choices.cross_validate:
            yield one, one.judge([unlabelled(case) for case in cases])
        else:
            yield one, cross_validate(one, cases, folds)
        done(1)


def _unlike(verdicts: Sequence[Verdict], group: _Group) -> float | None:
    """Share of the logs that are unlike what the localizer learned from; None where it cannot tell."""
    far = [one.unlikeness for one, inside in zip(verdicts, group.inside, strict=True) if inside]
    return sum(one > 1 for one in far if one is not None) / len(far) if far and None not in far else None


def _figures(
    name: str,
    marked: Floats,
    cases: Sequence[Case],
    groups: Sequence[_Group],
    seed: int,
    cut: Callable[[Sequence[Case]], float] | None,
) -> list[dict[str, Any]]:
    rows = []
    for group in groups:
        row = {"localizer": name, **group.row}
        for figure, estimate in zip(FIGURES, metrics.means(marked[group.inside], seed), strict=True):
            row |= dict(_cells(figure, estimate))
        rows.append(row | {"cut": cut(_pick(cases, group)) if cut else None, "unlike": None})
    return rows


def _differences(marked: Mapping[str, Floats], groups: Sequence[_Group], seed: int) -> list[dict[str, Any]]:
    """Of every localizer's MRR and the baseline's, on the same cases."""
    at = FIGURES.index("MRR")
    base = marked[BASELINE][:, at]
    return [
        {"localizer": name, "against": BASELINE, **group.row}
        | dict(_cells("MRR", metrics.paired(mine[group.inside, at], base[group.inside], seed)))
        for name, mine in marked.items()
        if name != BASELINE
        for group in groups
    ]


def _add_annotator(
    annotator: Annotator,
    cases: Sequence[Case],
    groups: Sequence[_Group],
    base: Floats,
    seed: int,
    figures: list[dict[str, Any]],
    differences: list[dict[str, Any]],
) -> None:
    """The rows of another annotator, on the cases that both labelled."""
    both = np.array([case.case_id in annotator.labels for case in cases], dtype=bool)
    asked = [case for case, inside in zip(cases, both, strict=True) if inside]
    if not asked:
        return
    marked = metrics.marks(asked, [agentrx.verdict(case, annotator.labels[case.case_id]) for case in asked])
    name = f"{annotator.name} (n={len(asked)})"
    inside = [
        _Group(group.by, group.name, group.inside[both])
        for group in groups
        if group.by != "length" and group.inside[both].any()
    ]
    figures += _figures(name, marked, asked, inside, seed, None)
    differences += _differences({name: marked, BASELINE: base[both]}, inside, seed)


def _cells(name: str, estimate: Estimate) -> list[tuple[str, float]]:
    return [(name, estimate.value), (f"{name}_low", estimate.low), (f"{name}_high", estimate.high)]
