"""A failed run as every localizer sees it: the question, the steps in order, and the labels where there are any."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from apportion.pipeline.core.ids import digest
from apportion.pipeline.trajectory.log import Log

_LABELS = ("labels", "fault_kind", "fault_step", "fault_agent")
"""Columns of a trajectory that tell which step went wrong."""


@dataclass(frozen=True)
class Step:
    """One message. `index` counts as its source does, from 0; `recipient` is whom it addresses, or a note on it."""

    index: int
    agent: str
    role: str
    recipient: str | None
    text: str


@dataclass(frozen=True)
class Label:
    """What an annotator says. The agent need not be the speaker of the step."""

    step: int
    agent: str


@dataclass(frozen=True)
class Case:
    """One run, mostly a failed one. `source` names the kind of log, such as "hand_crafted"; `answer` is what was said.

    `sound` means that an annotator found no step wrong; `label` is then None. Neither: nobody has looked.
    `asker` is who put the question to the team, by the name that the log gives. `log` is the record that the case was
    read from, for whoever needs more than the text: it tells neither labels nor a hidden reference.
    """

    case_id: str
    question: str
    reference: str | None
    answer: str | None
    steps: tuple[Step, ...]
    source: str
    label: Label | None = None
    sound: bool = False
    asker: str | None = None
    log: Log | None = field(default=None, compare=False, repr=False)

    @property
    def places(self) -> list[int]:
        """Message indices of the steps in `log`; empty without one."""
        return step_places(self.log) if self.log else []

    def without_reference(self) -> Case:
        """The case as somebody sees it who does not know the right answer."""
        log = self.log and replace(self.log, task=replace(self.log.task, references=()))
        return replace(self, reference=None, log=log)

    @property
    def question_id(self) -> str:
        """The same for one question in whatever log it is asked: folds and weights go by it."""
        return question_id(self.question)

    @property
    def agents(self) -> list[str]:
        """Who spoke, in order of the first message."""
        return list(dict.fromkeys(step.agent for step in self.steps))


def question_id(question: str) -> str:
    """Digest of a question's words: case and white space do not count."""
    return digest(question.casefold().split())


def case_of(log: Log) -> Case:
    """A stored trajectory as a case: every message but the system prompts and the task is a step.

    An imported log counts as its source did (`source_index`); a run of our own by `message_index`. The label is the
    decisive error (`mistake_step`), or the first wrong step (`first_wrong`; null makes the case `sound`).
    """
    labels: Mapping[str, Any] = json.loads(log.trajectory.get("labels") or "{}")
    steps = tuple(_step(log.messages[place]) for place in step_places(log))
    label = None
    if "mistake_step" in labels:
        label = Label(int(labels["mistake_step"]), str(labels["mistake_agent"]))
    elif labels.get("first_wrong") is not None:
        wrong = next(step for step in steps if step.index == labels["first_wrong"])
        label = Label(wrong.index, wrong.agent)
    references: Sequence[str] = log.task.references
    return Case(
        case_id=log.trajectory_id,
        question=log.task.question,
        reference=references[0].strip() if references else None,
        answer=log.trajectory.get("answer"),
        steps=steps,
        source=str(labels.get("half") or labels.get("subset") or log.trajectory["team"]),
        label=label,
        sound="first_wrong" in labels and labels["first_wrong"] is None,
        asker=next((str(row["agent"]) for row in log.messages if row["kind"] == "task"), None),
        log=replace(log, trajectory={name: value for name, value in log.trajectory.items() if name not in _LABELS}),
    )


def step_places(log: Log) -> list[int]:
    """Message indices of what is a step: every message but the system prompts and the task."""
    return [i for i, row in enumerate(log.messages) if row["kind"] not in ("system", "task")]


def _step(row: Mapping[str, Any]) -> Step:
    source = row.get("source_index")
    index = row["message_index"] if source is None else source
    return Step(int(index), str(row["agent"]), str(row["role"]), row.get("recipient"), str(row["text"] or ""))


def labelled_place(case: Case) -> int | None:
    """Place of the labelled step among the steps, None where the log has no such step."""
    if case.label is None:
        return None
    return next((i for i, step in enumerate(case.steps) if step.index == case.label.step), None)


def option_of(case: Case) -> int:
    """The right one among the steps of a solution and, as the last option, that none is wrong."""
    if case.sound:
        return len(case.steps)
    if case.label is None:
        raise ValueError(f"case {case.case_id} has no label")
    return [step.index for step in case.steps].index(case.label.step)
