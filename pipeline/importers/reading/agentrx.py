"""AgentRx's labels of Magentic-One runs (arXiv 2602.02475).

A record lists the failures of one run and says which of them is the root cause. Steps are counted from 1 there, and the
case of agents' names varies. `trajectory_id` is the log's `question_ID` in Who&When.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.importers.base import BadRecordError, decode, parse_json, printable
from apportion.pipeline.trajectory.case import Label
from apportion.pipeline.trajectory.task import Reject


def root_causes(path: Path) -> tuple[dict[str, Label], list[Reject]]:
    """The label of each run by `trajectory_id`, its step counted from 0, and the records that were set aside.

    A reject's line is the record's number, from 1. Raises UserError if the file is missing or holds no usable record.
    """
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
