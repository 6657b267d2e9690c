"""ProcessBench: solutions cut into steps, with the first step that is wrong (arXiv 2412.06559), as JSON lines.

A line is `{"id", "problem", "steps": [text, ...], "label", "final_answer_correct", "generator"?}`; `label` counts
from 0 and is -1 where no step is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from apportion.pipeline.importers.base import BadRecordError, Imported, Importer, Log, Remark, Turn, collected
from apportion.pipeline.importers.reading.answers import marked_answer
from apportion.pipeline.importers.reading.notes import NOT_READ
from apportion.pipeline.importers.reading.text import brief, holds, opened
from apportion.pipeline.trajectory.task import make_task

FORMAT = "process-bench"
SOLVER = "solver"
"""The one agent of every solution."""

_READ = ("id", "generator", "problem", "steps", "label", "final_answer_correct")
_EXPECTED = 'one solution a line, as {"id", "problem", "steps": [...], "label", "final_answer_correct"}'


class ProcessBench(Importer):
    """Read one file, or every file of a folder that could hold logs. A solution is a trajectory, each step a message.

    Row 0 is the problem; the steps follow, all by the agent "solver", and their `source_index` meets the label. The
    label goes to `trajectories.labels` as `first_wrong`, null where no step is wrong, with the `subset` (the id
    without its number: "gsm8k-12" is of "gsm8k"). `success` says whether the final answer is right: a solution may be
    wrong on the way to a right answer. There are no references. `answer` is what follows "FINAL ANSWER:" in the last
    step, else all of that step. A line that breaks a rule is set aside.
    Raises UserError if the path is missing or holds no usable solution.
    Status: source (ProcessBench, arXiv 2412.06559, its published files).
    """

    name: ClassVar[str] = FORMAT

    def read(self, path: Path) -> Imported:
        """See `Importer.read`."""
        return collected(FORMAT, path, _EXPECTED, lambda entry, value: _log(value))


def _log(record: Any) -> Log:
    if not isinstance(record, dict):
        raise BadRecordError("the line holds no JSON object")
    identity, problem = _text(record, "id"), _text(record, "problem").strip()
    steps = opened(record.get("steps"))
    if not isinstance(steps, list) or not steps:
        raise BadRecordError("`steps` is missing or empty")
    if not all(isinstance(step, str) for step in steps):
        raise BadRecordError("`steps` holds an item that is no text")
    correct = record.get("final_answer_correct")
    if not isinstance(correct, bool):
        raise BadRecordError("`final_answer_correct` is neither true nor false")
    head, _, number = identity.rpartition("-")
    subset = head if head and number.isdecimal() else identity
    turns = [Turn(agent="user", role="user", kind="task", text=problem)]
    turns += [
        Turn(
            agent=SOLVER,
            role="assistant",
            kind="message",
            text=step,
            source_index=index,
            is_outcome=index == len(steps) - 1,
        )
        for index, step in enumerate(steps)
    ]
    return Log(
        record=identity,
        team=f"{FORMAT}/{subset}",
        task=make_task(problem, [], source=FORMAT, split="all"),
        turns=turns,
        outcome=float(correct),
        success=correct,
        answer=marked_answer(steps[-1]) or steps[-1].strip() or None,
        labels=_labels(record, subset, len(steps)),
        remarks=[
            Remark(brief(key), "solution", NOT_READ) for key, v in record.items() if key not in _READ and holds(v)
        ],
    )


def _labels(record: dict[str, Any], subset: str, steps: int) -> dict[str, Any]:
    label = record.get("label")
    if not isinstance(label, int) or isinstance(label, bool) or label < -1:
        raise BadRecordError(f"`label` is no whole number from -1: {str(label)[:40]!r}")
    if label >= steps:
        raise BadRecordError(f"`label` is {label}, but there are {steps} steps, counted from 0")
    labels: dict[str, Any] = {"first_wrong": None if label == -1 else label, "subset": subset}
    return labels | {key: record[key] for key in ("generator",) if isinstance(record.get(key), str)}


def _text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise BadRecordError(f"`{key}` is missing or no text")
    return value
