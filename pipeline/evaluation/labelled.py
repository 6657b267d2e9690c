"""Labelled logs of other people as cases, and another annotator's labels of some of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.registry import family
from apportion.pipeline.localizers.base import Verdict
from apportion.pipeline.trajectory.case import Case, Label, case_of
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.trajectory.task import Reject, make_task

HALF = "hand_crafted"
"""The half of Who&When that holds the Magentic-One runs; AgentRx did not look at the other."""


@dataclass(frozen=True)
class Labelled:
    """Logs as cases; `runs` holds the `question_ID` of those that have one, by case_id. `notes`: what a reader of the
    import must know, a line each."""

    cases: tuple[Case, ...]
    rejects: tuple[Reject, ...]
    runs: Mapping[str, str]
    notes: tuple[str, ...] = ()


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


@dataclass(frozen=True)
class Annotator:
    """Another person's labels of some of the cases, by case_id: what people agree on is the ceiling."""

    name: str
    labels: Mapping[str, Label]

    def verdict(self, case: Case) -> Verdict:
        """The labelled step and agent above all others, which are alike."""
        label = self.labels[case.case_id]
        steps = np.array([float(step.index == label.step) for step in case.steps])
        return Verdict(steps, dict.fromkeys(case.agents, 0.0) | {label.agent: 1.0})


def annotator_of(path: Path, of_runs: Mapping[str, Label], logs: Labelled, name: str = "second annotator") -> Annotator:
    """AgentRx's labels (by run, from the file `path`) of those of the logs that have one.

    An agent is spelled as the log spells it, where its whole name is the same but for case; a label whose step the log
    does not have is left out. Raises UserError if none of the logs has a label.
    """
    labels = {}
    for case in logs.cases:
        label = of_runs.get(logs.runs.get(case.case_id, ""))
        if label is not None and case.source == HALF and any(step.index == label.step for step in case.steps):
            spelled = {agent.casefold(): agent for agent in case.agents}
            labels[case.case_id] = replace(label, agent=spelled.get(label.agent.casefold(), label.agent))
    if not labels:
        raise UserError(
            f"{path}: none of its {len(of_runs)} runs is among the hand-crafted logs (`trajectory_id` is their "
            "`question_ID`); give the logs that it annotates"
        )
    return Annotator(name, labels)
