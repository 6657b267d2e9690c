"""Labelled logs of other people as cases, and AgentRx's labels of those that are Magentic-One runs (arXiv 2602.02475).

A record of AgentRx lists the failures of one run and says which of them is the root cause. Steps are counted from 1
there, and the case of agents' names varies. `trajectory_id` is the log's `question_ID` in Who&When; the same question
may also be asked in its other half, which AgentRx did not look at.
"""

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
from apportion.pipeline.importers.base import BadRecordError, decode, parse_json, printable
from apportion.pipeline.localizers.base import Verdict
from apportion.pipeline.trajectory.case import Case, Label, case_of
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.trajectory.task import Reject, make_task

HALF = "hand_crafted"
"""The half of Who&When that holds the Magentic-One runs."""


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


def annotator_of(path: Path, logs: Labelled, name: str = "second annotator") -> tuple[Annotator, list[Reject]]:
    """The labels in a JSON file of those of the logs that have one, and the records that were set aside.

    A reject's line is the record's number, from 1. An agent is spelled as the log spells it, where its whole name is
    the same but for case; a label whose step the log does not have is left out. Raises UserError if the file is missing
    or holds no usable record, or none of the logs has a label.
    """
    of_runs, rejects = _root_causes(path)
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
    return Annotator(name, labels), rejects


def _root_causes(path: Path) -> tuple[dict[str, Label], list[Reject]]:
    """The label of each run by `trajectory_id`, its step counted from 0."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the JSON file with AgentRx's labels")
    try:
        records = parse_json(decode(path.read_bytes()))
    except BadRecordError as error:
        raise UserError(f"{path}: {error}") from error
    if not isinstance(records, list):
        raise UserError(f"{path}: not a list of records with `trajectory_id`, `failures` and `root_cause`")
    labels: dict[str, Label] = {}
    rejects: list[Reject] = []
    for number, record in enumerate(records, start=1):
        try:
            run, label = _root_cause(record)
            if run in labels:
                raise BadRecordError(f"run {run[:80]} was labelled before")
            labels[run] = label
        except BadRecordError as error:
            rejects.append(Reject(str(path), number, str(error), printable(str(record)[:500])))
    if not labels:
        first = f", the first: {rejects[0].reason}" if rejects else ""
        raise UserError(f"{path}: no usable record ({len(rejects)} set aside{first})")
    return labels, rejects


def _root_cause(record: Any) -> tuple[str, Label]:
    if not isinstance(record, dict) or not isinstance(record.get("trajectory_id"), str):
        raise BadRecordError("no object with a `trajectory_id`")
    failures, root = record.get("failures"), record.get("root_cause")
    if not isinstance(failures, list) or not isinstance(root, dict) or root.get("failure_id") is None:
        raise BadRecordError("`failures` or `root_cause.failure_id` is missing")
    found = [one for one in failures if isinstance(one, dict) and one.get("failure_id") == root["failure_id"]]
    if len(found) != 1:
        raise BadRecordError(f"`root_cause` names failure {str(root['failure_id'])[:20]}, found {len(found)} times")
    step, agent = found[0].get("step_number"), found[0].get("failed_agent")
    if not isinstance(step, int) or isinstance(step, bool) or step < 1:
        raise BadRecordError(f"`step_number` is no whole number from 1: {str(step)[:40]!r}")
    if not isinstance(agent, str) or not agent.strip():
        raise BadRecordError("`failed_agent` is missing or no text")
    return record["trajectory_id"], Label(step - 1, agent.strip())
