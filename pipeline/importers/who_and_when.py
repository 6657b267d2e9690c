"""Who&When: failed multi-agent runs with the annotated agent and decisive step (arXiv 2505.00212).

A log is one JSON object a file. Which half it belongs to is read from its content: automatically built teams
give the speaker in `name`, the hand-crafted Magentic-One team in `role`, as "Orchestrator (-> WebSurfer)".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from apportion.pipeline.importers.base import BadRecordError, Imported, Importer, Log, Remark, Turn, collected
from apportion.pipeline.importers.reading.answers import is_sign_off, marked_answer
from apportion.pipeline.importers.reading.files import Entry
from apportion.pipeline.importers.reading.notes import NOT_READ, folded
from apportion.pipeline.importers.reading.text import brief, holds, opened
from apportion.pipeline.trajectory.task import make_task

FORMAT = "who-and-when"
_EXPECTED = 'JSON files with "question", "ground_truth", "history" and the labels'
_ADDRESSED = re.compile(r"(?P<agent>.*\S)\s*\((?P<note>->\s*(?P<recipient>.*\S)|[^()]*)\s*\)\s*", re.S)
_READ = {
    "question", "ground_truth", "history", "system_prompt", "mistake_agent", "mistake_step", "mistake_reason",
    "is_correct", "is_corrected", "question_ID", "level",
}  # fmt: skip
_GHOST = "mistake_agent speaks nowhere in its log, so no step of that agent can be found"


class WhoAndWhen(Importer):
    """Read one log, one half, or a folder with both. Every log is a failure: outcome 0, success False.

    Row 0 is the task, then the system prompts that the log gives, then one row per item of `history`, whose
    `source_index` is its place there, so that it meets `mistake_step`. The labels are in
    `trajectories.labels` as JSON. `answer` is what follows "FINAL ANSWER:" at the start of a line in the last
    message that says more than that the talk is over ("TERMINATE"), and null without such a line; that message is the
    outcome.
    Raises UserError if the path is missing or holds no usable log.
    Status: source (Who&When, arXiv 2505.00212, its published files).
    """

    name: ClassVar[str] = FORMAT

    def read(self, path: Path) -> Imported:
        """See `Importer.read`."""
        return collected(FORMAT, path, _EXPECTED, lambda entry, value: _log(_name(entry), value))


def _name(entry: Entry) -> str:
    """Of a record: its file, and its line where the file holds several."""
    return entry.file.name if entry.alone else f"{entry.file.name}:{entry.line}"


def _log(name: str, record: Any) -> Log:
    if not isinstance(record, dict):
        raise BadRecordError("the file holds no JSON object")
    if record.get("is_correct") is True:
        raise BadRecordError("`is_correct` is true, but this format holds failed runs only")
    question, truth = _text(record, "question"), _text(record, "ground_truth")
    history = opened(record.get("history"))
    if not isinstance(history, list) or not history:
        raise BadRecordError("`history` is missing or empty")
    if not all(isinstance(item, dict) for item in history):
        raise BadRecordError("`history` holds an item that is no object")
    by_name = any(item.get("name") for item in history)
    half = "algorithm_generated" if by_name else "hand_crafted"
    outcome_at, answer = _answer(history)
    turns = [Turn(agent="user", role="user", kind="task", text=question), *_system_turns(record)]
    for index, item in enumerate(history):
        agent, role, recipient = _speaker(index, item, by_name)
        turns.append(
            Turn(
                agent=agent,
                role=role,
                kind="message",
                text=_text(item, "content", f"history item {index}: ", may_be_empty=True),
                source_index=index,
                recipient=recipient,
                is_outcome=index == outcome_at,
            )
        )
    labels = _labels(record, half, len(history))
    return Log(
        record=name,
        team=f"{FORMAT}/{half}",
        task=make_task(question.strip(), [truth.strip()], source=FORMAT, split="all"),
        turns=turns,
        outcome=0.0,
        success=False,
        answer=answer,
        labels=labels,
        remarks=(*_ghosts(name, labels["mistake_agent"], turns), *_unread(record)),
    )


def _text(record: dict[str, Any], key: str, place: str = "", *, may_be_empty: bool = False) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not (may_be_empty or value.strip()):
        raise BadRecordError(f"{place}`{key}` is missing or no text")
    return value


def _system_turns(record: dict[str, Any]) -> list[Turn]:
    prompts = opened(record.get("system_prompt") or {})
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise BadRecordError("`system_prompt` is no object of agent and text")
    return [Turn(agent=agent, role="system", kind="system", text=text) for agent, text in prompts.items()]


def _speaker(index: int, item: dict[str, Any], by_name: bool) -> tuple[str, str, str | None]:
    """Agent, role and recipient of one history item."""
    speaker = _text(item, "name" if by_name else "role", f"history item {index}: ").strip()
    if by_name:
        return speaker, "assistant", None
    if speaker == "human":
        return "user", "user", None
    match = _ADDRESSED.fullmatch(speaker)
    if match is None:
        return speaker, "assistant", None
    return match["agent"], "assistant", match["recipient"]


def _answer(history: list[dict[str, Any]]) -> tuple[int | None, str | None]:
    """Place and text of the final answer; None twice where the log does not state it plainly."""
    for index in range(len(history) - 1, -1, -1):
        text = history[index].get("content")
        if isinstance(text, str) and text.strip() and not is_sign_off(text):
            answer = marked_answer(text)
            return (None, None) if answer is None else (index, answer)
    return None, None


def _ghosts(name: str, blamed: str, turns: Sequence[Turn]) -> tuple[Remark, ...]:
    """A remark where the labelled agent is none of those who speak."""
    speakers = dict.fromkeys(turn.agent for turn in turns if turn.kind == "message")
    if blamed in speakers:
        return ()
    near = [speaker for speaker in speakers if folded(speaker) == folded(blamed)]
    who = f"only {near[0]!r} does" if near else f"there speak {', '.join(speakers)}"
    return (Remark(f"{name} names {blamed!r}, {who}", "log", _GHOST),)


def _unread(record: Mapping[str, Any]) -> list[Remark]:
    """A remark for every key that no column holds."""
    return [Remark(brief(key), "log", NOT_READ) for key, value in record.items() if key not in _READ and holds(value)]


def _labels(record: dict[str, Any], half: str, steps: int) -> dict[str, Any]:
    """The annotation as the log has it, with `mistake_step` as a number that is a place in the history."""
    written = str(record.get("mistake_step", "")).strip()
    if not re.fullmatch(r"[0-9]{1,9}", written):
        raise BadRecordError(f"`mistake_step` is no whole number from 0: {written[:40]!r}")
    if int(written) >= steps:
        raise BadRecordError(f"`mistake_step` is {int(written)}, but `history` has {steps} items, counted from 0")
    labels: dict[str, Any] = {
        "mistake_agent": _text(record, "mistake_agent").strip(),
        "mistake_step": int(written),
        "mistake_reason": _text(record, "mistake_reason"),
        "half": half,
    }
    return labels | {key: record[key] for key in ("question_ID", "level") if key in record}
