"""What every importer shares: the result record, the rows of a log, ids, and reading files line by line.

An importer is a pure function from a path to rows. A record that breaks a rule of its format raises
`BadRecordError`; it becomes a reject with its file, line and reason, and the rest goes on.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.ids import digest
from pipeline.tasks.task import Reject, Task, task_row

_REJECT_CHARS = 500
_FINAL_ANSWER = re.compile(r"^[\s*#>_]*final answer\b[\s*_]*:[ \t]*(?P<answer>.*\S)[ \t]*$", re.I | re.M)


@dataclass(frozen=True)
class Imported:
    """Rows of the tables `tasks`, `trajectories` and `messages` (keys are column names; a nullable column
    that the log does not fill is left out), and the records that were set aside."""

    tasks: list[dict[str, Any]]
    trajectories: list[dict[str, Any]]
    messages: list[dict[str, Any]]
    rejects: list[Reject]


class BadRecordError(ValueError):
    """A record that breaks a rule of its format; the text is the reason that the reject shows."""


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

    def reject(self, source: Path, line: int, reason: str, text: str) -> None:
        """Set aside the record at `line` (from 1); of its text the first 500 characters are kept."""
        self.rejects.append(Reject(str(source), line, reason, printable(text[:_REJECT_CHARS])))

    def finish(self, path: Path, expected: str) -> Imported:
        """The result. Raises UserError if nothing under `path` could be used."""
        if not self.trajectories:
            found = "it holds no record"
            if self.rejects:
                first = self.rejects[0]
                place = f"{first.source}:{first.line}"
                found = f"{len(self.rejects)} set aside, the first: {place}: {first.reason}"
            raise UserError(f"{path}: nothing to import as {self.format} ({found}); expected {expected}.")
        return Imported(list(self.tasks.values()), self.trajectories, self.messages, self.rejects)


def message_rows(trajectory_id: str, task_id: str, turns: Sequence[Turn]) -> Iterator[dict[str, Any]]:
    """Rows of `messages`. `context` is empty for what answers nothing, else null: see `pipeline.context`."""
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


def marked_answer(text: str) -> str | None:
    """What follows the last line-leading "FINAL ANSWER:" (any case, Markdown stars dropped), up to the end of
    its line; None where there is no such line."""
    found = [match["answer"].strip().strip("*_").strip() for match in _FINAL_ANSWER.finditer(text)]
    return found[-1] or None if found else None


def parse_json(text: str) -> Any:
    """The JSON value in `text`. Raises BadRecordError if it is not JSON or holds what UTF-8 cannot write."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadRecordError("the text holds half of a surrogate pair, which is no character") from error
    except RecursionError as error:
        raise BadRecordError("not usable JSON (nested too deeply)") from error
    except ValueError as error:
        raise BadRecordError(f"not JSON ({error})") from error
    return value


def decode(raw: bytes) -> str:
    """`raw` as UTF-8, a byte-order mark dropped. Raises BadRecordError."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRecordError(f"not UTF-8 ({error.reason} at byte {error.start})") from error


def printable(raw: str | bytes) -> str:
    """Text that every table can hold: what is no character is shown as an escape or a replacement mark."""
    if isinstance(raw, bytes):
        return raw.decode("utf-8", "replace")
    return raw.encode("utf-8", "backslashreplace").decode()


def source_files(path: Path, suffix: str) -> list[Path]:
    """`path` itself, or the files below it that end in `suffix`, by name with numbers in counting order.

    Raises UserError if the path does not exist or the folder holds no such file.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; give the path of the logs to import.")
    files = [file for file in path.rglob(f"*{suffix}") if file.is_file()]
    if not files:
        raise UserError(f"{path}: no {suffix} file in this folder; give the path of the logs to import.")
    return sorted(files, key=lambda file: _natural(file.relative_to(path).as_posix()))


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in parts]
