"""What every importer shares: the result record, the rows of a log and their ids.

An importer is a pure function from a path to rows. A record that breaks a rule of its format raises
`BadRecordError`; it becomes a reject with its file, line and reason, and the rest goes on.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest
from apportion.pipeline.core.registry import Method
from apportion.pipeline.importers.reading.files import Entry, Listing, entries, listing
from apportion.pipeline.importers.reading.notes import Remark, alike_line, folded, passed_over_line, remark_lines
from apportion.pipeline.importers.reading.text import BadRecordError, decode, parse_json, printable, without_nul
from apportion.pipeline.trajectory.task import Reject, Task, task_row

__all__ = [
    "BadRecordError",
    "Collector",
    "Imported",
    "Importer",
    "Log",
    "Remark",
    "Turn",
    "collected",
    "decode",
    "message_rows",
    "parse_json",
    "printable",
    "without_nulls",
]

_REJECT_CHARS = 500


@dataclass(frozen=True)
class Imported:
    """Rows of the tables `tasks`, `trajectories` and `messages` (keys are column names; a nullable column
    that the log does not fill is left out), the records that were set aside, and what a reader must know, a line each.
    """

    tasks: list[dict[str, Any]]
    trajectories: list[dict[str, Any]]
    messages: list[dict[str, Any]]
    rejects: list[Reject]
    notes: list[str] = field(default_factory=list)


class Importer(Method, ABC):
    """Reads one format of logs. A user's own needs no base class: a `name` and a method `read` are enough."""

    name: ClassVar[str]
    """The format, as ids and the names of runs are made from it."""

    @abstractmethod
    def read(self, path: Path) -> Imported:
        """The rows of one file, or of every file of a folder that could hold logs.

        A record that breaks a rule is set aside. Raises UserError if the path is missing or holds nothing of use.
        """


@dataclass(frozen=True)
class Turn:
    """One row of `messages` before it knows its trajectory.

    A `system` turn is seen by its own agent only; every other turn by all agents that speak after it.
    """

    agent: str
    role: str
    kind: str
    text: str
    source_index: int | None = None
    recipient: str | None = None
    is_outcome: bool = False
    tool_name: str | None = None
    tool_input: str | None = None


@dataclass(frozen=True)
class Log:
    """One imported conversation: its task, its turns in order, and what the record says of the run.

    `record` names it inside its format (file name or record id), the same wherever the file lies.
    """

    record: str
    team: str
    task: Task
    turns: Sequence[Turn]
    outcome: float | None = None
    success: bool | None = None
    answer: str | None = None
    labels: dict[str, Any] | None = None
    remarks: Sequence[Remark] = ()


@dataclass
class Collector:
    """Gathers logs and rejects of one import. Two records with the same name and task are told apart by
    their order; logs of one task and team form a group, counted from 0."""

    format: str
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    trajectories: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    _seen: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _group_size: Counter[str] = field(default_factory=Counter)
    _remarks: Counter[Remark] = field(default_factory=Counter)
    _names: dict[str, dict[str, None]] = field(default_factory=dict)

    def add(self, log: Log) -> None:
        """Append the rows of `log`."""
        task_id = log.task.task_id
        key = (log.team, log.record, task_id)
        trajectory_id = "i" + digest([self.format, *key, self._seen[key]])
        group_id = "g" + digest([task_id, log.team])
        row = {
            "trajectory_id": trajectory_id,
            "task_id": task_id,
            "group_id": group_id,
            "rollout_index": self._group_size[group_id],
            "team": log.team,
            "topology": "log",
            "origin": "imported",
            "removed": [],
            "outcome": log.outcome,
            "success": log.success,
            "verifier": None if log.outcome is None else "imported",
            "answer": log.answer,
            "labels": None if log.labels is None else json.dumps(log.labels, ensure_ascii=False),
            "text_digest": digest([[turn.agent, turn.text] for turn in log.turns]),
        }
        self._seen[key] += 1
        self._group_size[group_id] += 1
        self.tasks.setdefault(task_id, task_row(log.task))
        self.trajectories.append(without_nulls(row))
        self.messages.extend(message_rows(trajectory_id, task_id, log.turns))
        self._remarks.update(log.remarks)
        for turn in (turn for turn in log.turns if turn.role != "user"):
            self._names.setdefault(folded(turn.agent), {})[turn.agent] = None

    def reject(self, source: Path, line: int, reason: str | BadRecordError, text: str) -> None:
        """Set aside the record at `line` (from 1); of its text the first 500 characters are kept."""
        if isinstance(reason, BadRecordError) and reason.kind:
            self._remarks[Remark(reason.kind)] += 1
        self.rejects.append(Reject(str(source), line, str(reason), printable(text[:_REJECT_CHARS])))

    def finish(self, path: Path, expected: str, listing: Listing) -> Imported:
        """The result. Raises UserError if nothing under `path` could be used."""
        if not self.trajectories:
            found = "it holds no record"
            if self.rejects:
                first = self.rejects[0]
                place = f"{first.source}:{first.line}"
                found = f"{len(self.rejects)} set aside, the first: {place}: {first.reason}"
            beside = f"; {passed_over_line(listing)}" if listing.passed_over else ""
            raise UserError(f"{path}: nothing to import as {self.format} ({found}{beside}); expected {expected}.")
        alike = [list(names) for names in self._names.values() if len(names) > 1]
        notes = [*remark_lines(self._remarks), *(alike_line(names) for names in alike)]
        if listing.passed_over or listing.hidden:
            notes.append(passed_over_line(listing))
        return Imported(list(self.tasks.values()), self.trajectories, self.messages, self.rejects, notes)


def collected(format: str, path: Path, expected: str, log: Callable[[Entry, Any], Log]) -> Imported:
    """What `log` makes of each record under `path` and its entry; records that it refuses are set aside."""
    collector, found = Collector(format), listing(path)
    for file, name in found.files:
        for entry in (item for whole in entries(file, name) for item in whole.items()):
            try:
                if entry.problem is not None:
                    raise BadRecordError(entry.problem)
                collector.add(log(entry, without_nul(entry.value)[0]))
            except BadRecordError as error:
                collector.reject(file, entry.line, error, entry.raw)
    return collector.finish(path, expected, found)


def message_rows(trajectory_id: str, task_id: str, turns: Sequence[Turn]) -> Iterator[dict[str, Any]]:
    """Rows of `messages`. `context` is empty for what answers nothing, else null: see `trajectory.context`."""
    for index, turn in enumerate(turns):
        yield without_nulls(
            {
                "trajectory_id": trajectory_id,
                "task_id": task_id,
                "message_index": index,
                "source_index": turn.source_index,
                "agent": turn.agent,
                "role": turn.role,
                "agent_call_id": 0,
                "kind": turn.kind,
                "context": [] if turn.kind in ("system", "task") else None,
                "text": turn.text,
                "is_outcome": turn.is_outcome,
                "truncated": False,
                "tool_name": turn.tool_name,
                "tool_input": turn.tool_input,
                "trainable": False,
                "recipient": turn.recipient,
            }
        )


def without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    """`row` without the columns that are None."""
    return {name: value for name, value in row.items() if value is not None}
