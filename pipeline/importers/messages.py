"""Chat logs of the usual frameworks, their agents told apart by `name`: docs/import.md says what becomes of each form.

The plain form is one conversation a line, `{"messages": [{"role", "content", "name"?, "tool_calls"?, ...}], ...}`, or a
bare list of messages. Optional beside it: `id`, `question`, the right answer (`references`, `ground_truth`, `target`;
`answer` where it stands alone), and how the run ended: `outcome` or `reward` in [0, 1], `success`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from apportion.pipeline.importers.base import BadRecordError, Collector, Imported, Importer, Log, Remark, Turn
from apportion.pipeline.importers.reading.answers import (
    is_closing,
    is_farewell,
    is_sign_off,
    marked_answer,
    stated_answer,
)
from apportion.pipeline.importers.reading.calls import Ledger, Made, Result, call_block
from apportion.pipeline.importers.reading.endings import Ending, Key, answer_key, ending
from apportion.pipeline.importers.reading.files import Entry, entries, listing, shown
from apportion.pipeline.importers.reading.notes import NOT_READ
from apportion.pipeline.importers.reading.shapes import QUESTIONS, Chat, chats
from apportion.pipeline.importers.reading.speakers import UNNAMED, settle
from apportion.pipeline.importers.reading.speech import Said, is_message, read_message
from apportion.pipeline.importers.reading.text import brief, holds, without_nul
from apportion.pipeline.trajectory.task import make_task

FORMAT = "messages"
_EXPECTED = 'one conversation a line, as {"messages": [{"role": ..., "content": ...}, ...]}'
_MARKED = "parts that are no plain text stand as marks"
_ORPHANS = "tool results without a call go to the agent who spoke before"
_NULS = "NUL characters are replaced by \N{REPLACEMENT CHARACTER}"
_LOOSE = "files whose lines are single messages are read as one conversation each"


class Messages(Importer):
    """Read one file, or every file of a folder that could hold logs.

    * Agent: the `name` of a message (or `agent`, `sender`, `source`), else its role.
    * Task: `question`, else the first user message. Row 0, unless an assistant spoke before it.
    * System prompts: what stands before the first other message belongs to the agent named there, and to
      every assistant where none is named; several for one agent are joined. A later one is a message of
      "system" to the agent named there.
    * Tool results belong to the agent whose call they answer. The calls that an assistant made stand in its
      text as `<tool_call>` blocks, since they are part of what it wrote.
    * Answer: the last message that says more than that the talk is over, if an assistant wrote it without calling a
      tool: what follows "FINAL ANSWER:" at the start of a line, else its whole text.

    `source_index` is a message's place in the record's list. A record that breaks a rule is set aside.
    Raises UserError if the path is missing or holds no usable conversation.
    Status: ours: the chat formats that are in use (OpenAI, ShareGPT, LangChain, AutoGen, Gemini and others).
    """

    name: ClassVar[str] = FORMAT

    def read(self, path: Path) -> Imported:
        """See `Importer.read`."""
        collector, found = Collector(FORMAT), listing(path)
        for file, name in found.files:
            loose: list[Entry] = []
            others = 0
            for entry in entries(file, name):
                if entry.problem is None and is_message(entry.value, surely=True):
                    loose.append(entry)
                else:
                    others += 1
                    _add(collector, entry)
            if loose:
                _add_loose(collector, loose, others)
        return collector.finish(path, _EXPECTED, found)


def _add(collector: Collector, entry: Entry) -> None:
    """Add the conversations of one JSON value, or say why there are none."""
    try:
        if entry.problem is not None:
            raise BadRecordError(entry.problem)
        conversations = chats(entry.value)
    except (BadRecordError, RecursionError) as error:
        collector.reject(entry.file, entry.line, _plainly(error), entry.raw)
        return
    several = len(conversations) > 1
    for place, chat in enumerate(conversations, start=1):
        number = place if several and entry.alone else entry.line
        suffix = f".{place}" if several and not entry.alone else ""
        try:
            if isinstance(chat, BadRecordError):
                raise chat
            collector.add(_log(f"{entry.name}:{number}{suffix}", chat))
        except (BadRecordError, RecursionError) as error:
            raw = shown(chat.messages) if several and isinstance(chat, Chat) else entry.raw
            collector.reject(entry.file, number, _plainly(error), raw)


def _add_loose(collector: Collector, entries: Sequence[Entry], others: int) -> None:
    """Add the lines of a file that are messages as one conversation, if nothing else is in the file."""
    first = entries[0]
    if others:
        for entry in entries:
            collector.reject(entry.file, entry.line, "a single message beside lines of another kind", entry.raw)
        return
    try:
        log = _log(f"{first.name}:{first.line}", Chat([entry.value for entry in entries], {}, ()))
        collector.add(replace(log, remarks=(*log.remarks, Remark(_LOOSE, "file"))))
    except (BadRecordError, RecursionError) as error:
        collector.reject(first.file, first.line, _plainly(error), first.raw)


def _plainly(error: BadRecordError | RecursionError) -> BadRecordError:
    return error if isinstance(error, BadRecordError) else BadRecordError("not usable JSON (nested too deeply)")


@dataclass(frozen=True)
class _Row:
    """A turn with what its writer said aloud in it, and whether it asks for a tool."""

    turn: Turn
    spoken: str = ""
    calls: bool = False


def _log(place: str, chat: Chat) -> Log:
    rest, nuls = without_nul({key: value for key, value in chat.fields.items() if key not in chat.used})
    listed, more = without_nul(chat.messages)
    said = [one for index, message in enumerate(listed) if (one := read_message(index, message)) is not None]
    cast = settle(said, _question(rest))
    if all(one.role != "assistant" for one in cast.said):
        raise BadRecordError("no assistant message")
    remarks = [*cast.remarks, *_remarks(said, chat, rest), *[Remark(_NULS, "character")] * (nuls + more)]
    question, rows = _with_task(rest, _rows(cast.said, remarks))
    key, end = answer_key(rest), ending(rest)
    at, answer = _answer(rows, key.references)
    _check_sole(key, end, answer)
    turns = [replace(row.turn, is_outcome=index == at) for index, row in enumerate(rows)]
    used = {*key.used, *end.used, "id", "question"}
    remarks += [Remark(brief(name), "conversation", NOT_READ) for name, value in rest.items()
                if name not in used and holds(value)]  # fmt: skip
    return Log(
        record=place if rest.get("id") is None else f"id:{rest['id']}",
        team=FORMAT,
        task=make_task(question.strip(), key.references, source=FORMAT, split="all"),
        turns=turns,
        outcome=end.outcome,
        success=end.success,
        answer=key.own if answer is None else answer,
        labels=None if end.raw_reward is None else {"reward": end.raw_reward},
        remarks=(*remarks, *end.remarks),
    )


def _remarks(said: Sequence[Said], chat: Chat, rest: Mapping[str, Any]) -> Iterator[Remark]:
    """What of the messages is not in the rows, or only by its mark."""
    for one in said:
        yield from (Remark(f"[{mark}]", "part", _MARKED) for mark in one.content.marks)
        yield from (Remark(key, "message", NOT_READ) for key in one.unread)
    yield from (Remark(key, "conversation", NOT_READ) for key in chat.outer)
    skipped = len(chat.messages) - len(said)
    yield from [Remark("items that say nothing, such as streamed pieces of a message, are left out", "item")] * skipped


def _rows(said: Sequence[Said], remarks: list[Remark]) -> list[_Row]:
    """The rows of a conversation in its own order, the leading system prompts first; no task row yet."""
    lead = next((i for i, one in enumerate(said) if one.role != "system"), len(said))
    speakers = [one.name or UNNAMED for one in said if one.role == "assistant"]
    prompts: dict[str, Turn] = {}
    for one in said[:lead]:
        text = one.content.text
        for agent in [one.name] if one.name else dict.fromkeys(speakers):
            first = prompts.get(agent)
            prompts[agent] = (
                Turn(agent=agent, role="system", kind="system", text=text, source_index=one.index)
                if first is None
                else replace(first, text=f"{first.text}\n\n{text}")
            )
    rows = [_Row(turn) for turn in prompts.values()]
    ledger, spoke = Ledger(), None
    for one in said[lead:]:
        if one.role == "assistant":
            spoke = one.name or UNNAMED
        made = _message(one, ledger)
        results = [_result(one, result, ledger, spoke, remarks) for result in one.results]
        # An item that holds a call with its result writes first; whoever brings results of others speaks after them.
        rows += [*made, *results] if one.role == "assistant" else [*results, *made]
    return rows


def _message(one: Said, ledger: Ledger) -> list[_Row]:
    """The row of what a message says itself; none where it only brings results. Its calls go to the ledger."""
    text = one.content.text
    if one.role == "tool" or (one.results and not text.strip() and not one.calls):
        return []
    if one.role == "system":
        return [_Row(Turn(agent="system", role="system", kind="message", text=text, source_index=one.index,
                          recipient=one.name))]  # fmt: skip
    agent = one.name or (UNNAMED if one.role == "assistant" else "user")
    ledger.add(one.calls, agent, str(one.role))
    blocks = [call_block(call) for call in one.calls]
    only = one.calls[0] if len(one.calls) == 1 else None
    turn = Turn(
        agent=agent, role=str(one.role), kind="message", source_index=one.index, recipient=one.recipient,
        text="\n".join([text, *blocks] if text else blocks),
        tool_name=only.name if only else None, tool_input=only.arguments if only else None,
    )  # fmt: skip
    return [_Row(turn, one.content.spoken, bool(one.calls))]


def _result(one: Said, result: Result, ledger: Ledger, spoke: str | None, remarks: list[Remark]) -> _Row:
    """The row of a tool's result. It belongs to whoever called; a user's own tools are no agent's."""
    try:
        made: list[Made] = ledger.take(result)
    except BadRecordError as error:
        raise BadRecordError(f"message {one.index} {error}") from error
    if not made and spoke is None:
        raise BadRecordError(f"message {one.index} answers no tool call made before it, and no agent spoke before it")
    if not made:
        remarks.append(Remark(_ORPHANS, "result"))
    agent = made[0].agent if made else str(spoke)
    only = made[0].call if len(made) == 1 else None
    turn = Turn(
        agent=agent, role="user" if made and made[0].role == "user" else "tool", kind="tool_result", text=result.text,
        source_index=one.index, recipient=agent, tool_name=only.name if only else result.name,
        tool_input=only.arguments if only else None,
    )  # fmt: skip
    return _Row(turn)


def _question(fields: Mapping[str, Any]) -> str | None:
    question = fields.get("question")
    if question is not None and not (isinstance(question, str) and question.strip()):
        raise BadRecordError("`question` is no text")
    return question


def _with_task(fields: Mapping[str, Any], rows: list[_Row]) -> tuple[str, list[_Row]]:
    """The question, and the rows with its own: the user message that asks it, or a row more."""
    question = _question(fields)
    asked = next(
        (
            i
            for i, row in enumerate(rows)
            if row.turn.role == "user" and row.turn.kind == "message" and row.spoken.strip()
        ),
        None,
    )
    if question is None and asked is None:
        question = next((v for key in QUESTIONS if isinstance(v := fields.get(key), str) and v.strip()), None)
    if question is not None and (asked is None or rows[asked].turn.text.strip() != question.strip()):
        return question, [_Row(Turn(agent="user", role="user", kind="task", text=question)), *rows]
    if asked is None:
        raise BadRecordError("no question: neither a user message with text nor `question`")
    task = replace(rows[asked], turn=replace(rows[asked].turn, agent="user", kind="task"))
    rest = [*rows[:asked], *rows[asked + 1 :]]
    spoken_before = any(row.turn.kind != "system" for row in rows[:asked])
    return task.turn.text, [*rest[:asked], task, *rest[asked:]] if spoken_before else [task, *rest]


def _answer(rows: Sequence[_Row], references: Sequence[str]) -> tuple[int | None, str | None]:
    """Place and text of the answer: the last message that says something, if an agent wrote it and calls no tool."""
    right = {reference.casefold() for reference in references}
    for index in range(len(rows) - 1, -1, -1):
        row = rows[index]
        ends = is_farewell if row.turn.role == "user" else is_sign_off
        over = ends(row.spoken) and row.spoken.strip().casefold() not in right
        if not row.calls and row.turn.kind == "message" and (not row.turn.text.strip() or over):
            continue
        if row.turn.kind != "message" or row.turn.role != "assistant" or row.calls or not row.spoken.strip():
            return None, None
        if (marked := _marked_before(rows[: index + 1])) is not None:
            return marked, marked_answer(rows[marked].spoken)
        return index, stated_answer(row.spoken) if not right & {row.spoken.strip().casefold()} else row.spoken.strip()
    return None, None


def _marked_before(rows: Sequence[_Row]) -> int | None:
    """Place of the marked answer (FINAL ANSWER: ...) after which agents said nothing but words that close the talk."""
    for index in range(len(rows) - 1, -1, -1):
        row = rows[index]
        if row.turn.kind != "message" or row.turn.role != "assistant" or row.calls:
            return None
        if marked_answer(row.spoken):
            return index
        if row.spoken.strip() and not is_closing(row.spoken):
            return None
    return None


def _check_sole(key: Key, end: Ending, answer: str | None) -> None:
    """Refuse a record whose only `answer` seems to be the one that was given, and wrong."""
    if key.sole and end.success is False and answer is not None:
        given = answer.strip().rstrip(".").casefold()
        if given in {reference.strip().rstrip(".").casefold() for reference in key.references}:
            raise BadRecordError(
                "ambiguous: `answer` is what the last message says, and the run failed; name the right one `target`",
                "set aside, since it is not clear which of two answers is the right one",
            )
