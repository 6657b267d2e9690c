"""One task, and one input row that could not become a task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from apportion.pipeline.core.ids import digest


@dataclass(frozen=True)
class Task:
    """A question with its references (aliases of the one answer, the canonical one first).

    `task_id` depends on the question and the references only, so the same task from two files is one task.
    """

    task_id: str
    source: str
    split: str
    question: str
    references: tuple[str, ...]
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reject:
    """An input row set aside: its file, its line (or row, from 1), the reason, and how the row begins."""

    source: str
    line: int
    reason: str
    text: str


def task_row(task: Task) -> dict[str, Any]:
    """The row of `tasks`."""
    return {
        "task_id": task.task_id,
        "source": task.source,
        "split": task.split,
        "question": task.question,
        "references": list(task.references),
        "meta": json.dumps(task.meta, sort_keys=True, ensure_ascii=False),
    }


def make_task(
    question: str, references: Sequence[str], *, source: str, split: str, meta: dict[str, Any] | None = None
) -> Task:
    """A Task with its id: "t" and 16 hex digits of (question, references)."""
    task_id = "t" + digest([question, list(references)])
    return Task(task_id, source, split, question, tuple(references), meta or {})
