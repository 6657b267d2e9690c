"""OpenAI-style chat logs as JSON lines: one conversation a line, its agents told apart by `name`.

A line is `{"messages": [{"role", "content", "name"?, "tool_calls"?, "tool_call_id"?}], ...}` or a bare list
of messages. Optional beside it: `id`, `question`, `references` (or `ground_truth`, or `answer`: the right
answer, a list where several count), and how the run ended: `outcome` or `reward` in [0, 1], `success`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.importers.base import (
    BadRecordError,
    Collector,
    Imported,
    Log,
    Turn,
    decode,
    marked_answer,
    parse_json,
    printable,
    source_files,
)
from pipeline.tasks.task import make_task

FORMAT = "messages"
_EXPECTED = 'one conversation a line, as {"messages": [{"role": ..., "content": ...}, ...]}'
_REFERENCES = ("references", "ground_truth", "answer")
_OUTCOMES = ("outcome", "reward")
_SYSTEM = ("system", "developer")
_ROLES = (*_SYSTEM, "user", "assistant", "tool")
_TEXT_PARTS = ("text", "input_text", "output_text")


def read(path: Path) -> Imported:
    """Read one JSONL file, or every .jsonl file of a folder.

    * Agent: the `name` of a message, else its role.
    * Task: `question`, else the first user message. Row 0, unless an assistant spoke before it.
    * System prompts: what stands before the first other message belongs to the agent named there, and to
      every assistant where none is named; several for one agent are joined. A later one is a message of
      "system" to the agent named there.
    * Tool results belong to the agent whose call they answer. The calls that an assistant made stand in its
      text as `<tool_call>` blocks, since they are part of what it wrote.
    * Answer: the last message, if an assistant wrote it without calling a tool: what follows "FINAL ANSWER:"
      at the start of a line, else its whole text.

    `source_index` is a message's place in the line's list. A line that breaks a rule is set aside.
    Raises UserError if the path is missing or holds no usable conversation.
    """
    collector = Collector(FORMAT)
    for file in source_files(path, ".jsonl"):
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        with file.open("rb") as lines:
            for number, raw in enumerate(lines, start=1):
                if not raw.strip():
                    continue
                try:
                    collector.add(_log(f"{name}:{number}", parse_json(decode(raw))))
                except BadRecordError as error:
                    collector.reject(file, number, str(error), printable(raw.rstrip(b"\r\n")))
    return collector.finish(path, _EXPECTED)


@dataclass(frozen=True)
class _Call:
    agent: str
    name: str
    arguments: str


def _log(place: str, record: Any) -> Log:
    fields: dict[str, Any] = {"messages": record} if isinstance(record, list) else record
    if not isinstance(fields, dict):
        raise BadRecordError("neither an object nor a list of messages")
    chat = fields.get("messages")
    if not isinstance(chat, list) or not chat:
        raise BadRecordError("no messages")
    for index, message in enumerate(chat):
        _check(index, message)
    if all(message["role"] != "assistant" for message in chat):
        raise BadRecordError("no assistant message")
    question, turns = _with_task(fields.get("question"), _turns(chat))
    outcome, success = _ending(fields)
    last = turns[-1]
    answered = last.role == "assistant" and not chat[-1].get("tool_calls") and bool(last.text.strip())
    if answered:
        turns[-1] = replace(last, is_outcome=True)
    return Log(
        record=place if fields.get("id") is None else f"id:{fields['id']}",
        team=FORMAT,
        task=make_task(question.strip(), _references(fields), source=FORMAT, split="all"),
        turns=turns,
        outcome=outcome,
        success=success,
        answer=(marked_answer(last.text) or last.text.strip()) if answered else None,
    )


def _check(index: int, message: Any) -> None:
    """Refuse a message whose form is wrong; what it says is looked at later."""
    if not isinstance(message, dict):
        raise BadRecordError(f"message {index} is no object")
    role = message.get("role")
    if role not in _ROLES:
        raise BadRecordError(f"message {index}: role {str(role)[:40]!r} is none of {', '.join(_ROLES)}")
    if not isinstance(message.get("name") or "", str):
        raise BadRecordError(f"message {index}: `name` is no text")
    if message.get("content") is None and not (role == "assistant" and message.get("tool_calls")):
        raise BadRecordError(f"message {index} has no content and no tool calls")


def _turns(chat: Sequence[dict[str, Any]]) -> list[Turn]:
    """The rows of a conversation in its own order, the leading system prompts first; no task row yet."""
    lead = next((i for i, message in enumerate(chat) if message["role"] not in _SYSTEM), len(chat))
    speakers = [_agent(message) for message in chat if message["role"] == "assistant"]
    prompts: dict[str, Turn] = {}
    for index, message in enumerate(chat[:lead]):
        text = _content(index, message)
        for agent in [message["name"]] if message.get("name") else dict.fromkeys(speakers):
            first = prompts.get(agent)
            prompts[agent] = (
                Turn(agent=agent, role="system", kind="system", text=text, source_index=index)
                if first is None
                else replace(first, text=f"{first.text}\n\n{text}")
            )
    turns = list(prompts.values())
    calls: dict[str, _Call] = {}
    for index, message in enumerate(chat[lead:], start=lead):
        turns.append(_turn(index, message, calls))
    return turns


def _turn(index: int, message: dict[str, Any], calls: dict[str, _Call]) -> Turn:
    """The row of one message after the leading prompts; the calls that it makes are added to `calls`."""
    text, agent = _content(index, message), _agent(message)
    match message["role"]:
        case "tool":
            call = calls.get(str(message.get("tool_call_id")))
            if call is None:
                raise BadRecordError(f"message {index} answers no tool call made before it (`tool_call_id`)")
            return Turn(
                agent=call.agent, role="tool", kind="tool_result", text=text, source_index=index,
                recipient=call.agent, tool_name=call.name, tool_input=call.arguments,
            )  # fmt: skip
        case "assistant":
            made = _calls(index, message, agent)
            calls.update(made)
            blocks = [_call_block(call) for call in made.values()]
            only = next(iter(made.values())) if len(made) == 1 else None
            return Turn(
                agent=agent, role="assistant", kind="message", source_index=index,
                text="\n".join([text, *blocks] if text else blocks),
                tool_name=only.name if only else None, tool_input=only.arguments if only else None,
            )  # fmt: skip
        case "user":
            return Turn(agent=agent, role="user", kind="message", text=text, source_index=index)
        case _:
            return Turn(
                agent="system", role="system", kind="message", text=text, source_index=index,
                recipient=message.get("name") or None,
            )  # fmt: skip


def _agent(message: dict[str, Any]) -> str:
    return str(message.get("name") or message["role"])


def _content(index: int, message: dict[str, Any]) -> str:
    """The text of a message; parts are joined by line breaks. Raises BadRecordError for what is no text."""
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRecordError(f"message {index}: `content` is neither text nor a list of parts")
    texts: list[str] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(part, str):
            texts.append(part)
        elif kind in _TEXT_PARTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            raise BadRecordError(f"message {index}: a part of type {str(kind)[:40]!r} is no text")
    return "\n".join(texts)


def _calls(index: int, message: dict[str, Any], agent: str) -> dict[str, _Call]:
    """The tool calls of an assistant message, by their ids."""
    listed = message.get("tool_calls") or []
    if not isinstance(listed, list):
        raise BadRecordError(f"message {index}: `tool_calls` is no list")
    made: dict[str, _Call] = {}
    for call in listed:
        function = call.get("function") if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or call.get("id") is None:
            raise BadRecordError(f"message {index}: a tool call lacks its id or its function's name")
        if str(call["id"]) in made:
            raise BadRecordError(f"message {index}: two tool calls have the same id")
        given = function.get("arguments", "")
        arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        made[str(call["id"])] = _Call(agent, name, arguments)
    return made


def _call_block(call: _Call) -> str:
    """A call as an assistant writes it in the chat templates that follow Hermes (Qwen, SmolLM)."""
    try:
        arguments = parse_json(call.arguments)
    except BadRecordError:
        arguments = call.arguments
    body = json.dumps({"name": call.name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{body}\n</tool_call>"


def _with_task(question: Any, turns: list[Turn]) -> tuple[str, list[Turn]]:
    """The question, and the turns with its row: the user message that asks it, or a row of its own."""
    if question is not None and not (isinstance(question, str) and question.strip()):
        raise BadRecordError("`question` is no text")
    asked = next((i for i, turn in enumerate(turns) if turn.role == "user"), None)
    if question is not None and (asked is None or turns[asked].text.strip() != question.strip()):
        return question, [Turn(agent="user", role="user", kind="task", text=question), *turns]
    if asked is None or not turns[asked].text.strip():
        raise BadRecordError("no question: neither a user message with text nor `question`")
    task = replace(turns[asked], agent="user", kind="task")
    rest = [*turns[:asked], *turns[asked + 1 :]]
    spoken_before = any(turn.kind != "system" for turn in turns[:asked])
    return task.text, [*rest[:asked], task, *rest[asked:]] if spoken_before else [task, *rest]


def _references(fields: dict[str, Any]) -> list[str]:
    """The right answers as texts, doubles and empty ones dropped; none where the line does not tell."""
    key = next((key for key in _REFERENCES if fields.get(key) is not None), None)
    if key is None:
        return []
    values = fields[key] if isinstance(fields[key], list) else [fields[key]]
    if any(isinstance(value, bool) or not isinstance(value, str | int | float) for value in values):
        raise BadRecordError(f"`{key}` holds something that is neither text nor a number")
    # 4.0 and 4 are one reference, as in task files.
    plain = (int(value) if isinstance(value, float) and value.is_integer() else value for value in values)
    return list(dict.fromkeys(text for value in plain if (text := str(value).strip())))


def _ending(fields: dict[str, Any]) -> tuple[float | None, bool | None]:
    """(outcome in [0, 1], success). Where only one is given the other follows: success means outcome 1."""
    key = next((key for key in _OUTCOMES if fields.get(key) is not None), None)
    success = fields.get("success")
    if success is not None and not isinstance(success, bool):
        raise BadRecordError("`success` is neither true nor false")
    if key is None:
        return (None if success is None else float(success)), success
    outcome = fields[key]
    if not isinstance(outcome, bool | int | float) or not 0 <= outcome <= 1:
        raise BadRecordError(f"`{key}` is no number in [0, 1]: {str(outcome)[:40]}")
    return float(outcome), float(outcome) == 1.0 if success is None else success
