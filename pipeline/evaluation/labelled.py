"""Labelled logs of other people as cases, and what a second annotator says of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.registry import family
from apportion.pipeline.evaluation import agentrx
from apportion.pipeline.trajectory.case import Case, Label, case_of
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.trajectory.task import Reject, make_task


@dataclass(frozen=True)
class Labelled:
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


def read(format: str, path: Path) -> Labelled:
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
    return Labelled(tuple(cases), tuple(imported.rejects), runs, tuple(imported.notes))


def annotator_of(path: Path, logs: Labelled, name: str = "second annotator") -> tuple[Annotator, tuple[Reject, ...]]:
    """AgentRx's labels of those of the logs that have one. Raises UserError if none has."""
    annotations = agentrx.read(path)
    labels = agentrx.join(annotations, logs.cases, logs.runs)
    if not labels:
        raise UserError(
            f"{path}: none of its {len(annotations.labels)} runs is among the hand-crafted logs (`trajectory_id` is "
            "their `question_ID`); give the logs that it annotates"
        )
    return Annotator(name, labels), annotations.rejects
