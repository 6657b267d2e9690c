"""One message in any of the usual forms -> one record: who speaks in which role, what is said, called and answered.

Read are messages with a `role` (OpenAI, TRL, Gemini, SWE-agent, Inspect), `from` and `value` (ShareGPT), a `type` as
LangChain writes it (flat, with `data`, or with `kwargs`), items of the Responses interface (OpenAI Agents), and
AutoGen's `source` and `type`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apportion.pipeline.importers.reading.calls import (
    Call,
    Result,
    call_block,
    first,
    read_call,
    read_calls,
    result_ids,
    text_id,
)
from apportion.pipeline.importers.reading.notes import trimmed
from apportion.pipeline.importers.reading.parts import Content, joined, mark, read_content, thought
from apportion.pipeline.importers.reading.text import BadRecordError, brief, holds

_CALLERS = ("tool-call", "tool_call", "function_call", "function-call")
ROLES: Mapping[str, str] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "ai", "gpt", "model", "bot", "chatbot", "agent", *_CALLERS), "assistant"),
    **dict.fromkeys(("tool", "function", "ipython", "observation", "tool-response", "tool_response", "tool_result",
                     "function_response", "environment"), "tool"),
}  # fmt: skip
NAMES = ("name", "agent", "agent_name", "sender", "source", "speaker", "author")
_CONTENTS = ("content", "value", "text", "parts", "blocks", "message")
_RECIPIENTS = ("recipient", "receiver")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_CALL_KEYS = ("tool_calls", "toolCalls", "tool_call", "toolCall", "function_call", "functionCall", "invalid_tool_calls")
_RESPONSES = ("tool_responses", "tool_results", "toolResults")
_GIVEN = ("content", "output", "result", "response", "text")
_TAKEN = {
    "role", "from", "type", "data", "kwargs", "lc", *_CALL_KEYS, *_RESPONSES, "tool_call_id", "tool_call_ids",
    "call_id", "toolCallId", "output", "refusal", "images", "is_error", *_CONTENTS, *_RECIPIENTS, *_THOUGHTS,
}  # fmt: skip
_ORIGINS = {*ROLES, "input", "generate", "operator", "cache"}
"""Values of `source` and the like that say where a message comes from, not who speaks."""
_LANGCHAIN = {"human", "ai", "tool", "system", "function", "developer", "chat"}
_UNSAID = {"ModelClientStreamingChunkEvent", "UserInputRequestedEvent", "remove", "item_reference"}
"""Types of items that say nothing, or nothing that does not follow in another one."""


@dataclass(frozen=True)
class Said:
    """One message. `role` is None where only the speaker tells it; `key` is where the speaker's name stood.

    `unread`: keys with a value that no column holds. `item`: an item of the Responses interface, which has no names.
    """

    index: int | None
    role: str | None
    name: str | None
    content: Content
    key: str = ""
    calls: tuple[Call, ...] = ()
    results: tuple[Result, ...] = ()
    recipient: str | None = None
    unread: tuple[str, ...] = ()
    item: bool = False


def is_message(value: Any, *, surely: bool = False) -> bool:
    """Does `value` look like a message of a chat? `surely`: by more than a speaker and a text."""
    if not isinstance(value, dict):
        return False
    inner = value.get("message")
    if "role" in value or isinstance(value.get("from"), str) or (isinstance(inner, dict) and "role" in inner):
        return True
    if "action" in value or "observation" in value:
        return False
    return _of_type(value) or (
        not surely
        and any(isinstance(value.get(key), str) for key in NAMES[1:])
        and any(key in value for key in ("content", "text"))
    )


def _of_type(value: Mapping[str, Any]) -> bool:
    kind = value.get("type")
    if not isinstance(kind, str):
        return False
    if kind == "constructor":
        return "kwargs" in value
    known = _langchain(kind) in _LANGCHAIN or kind == "message" or kind.startswith("function_call")
    return known and any(key in value for key in ("content", "data", "name", "output", "tool_calls"))


def read_message(index: int, message: Any) -> Said | None:
    """The record of a message; None for an item that says nothing. Raises BadRecordError for a form that is wrong."""
    place = f"message {index}"
    if not isinstance(message, dict):
        raise BadRecordError(f"{place} is no object")
    kind = message.get("type")
    if isinstance(kind, str) and kind in _UNSAID and message.get("role") is None:
        return None
    fields = _unwrapped(message)
    item = _item(place, index, fields) or _event(place, index, fields)
    if item is not None:
        return item
    role = _role(place, fields)
    name, key = _name(place, fields, role)
    content = _content(place, fields, role)
    calls = _calls(place, fields, content)
    if str(first(fields, ("role", "from"))).strip().lower() in _CALLERS and (written := _written_calls(place, content)):
        content, calls = Content(), written
    results = _results(fields, content) if role == "tool" else (*content.results, *_beside(calls))
    if content.empty and not calls and not results and first(fields, (*_CONTENTS, "images")) is None:
        raise BadRecordError(
            f"{place} has no content and no tool calls; its keys: {', '.join(map(brief, list(message)[:15]))}"
        )
    unread = tuple(brief(k) for k, v in fields.items() if k not in _TAKEN and k != key and holds(v))
    if role == "tool":
        unread = tuple(k for k in unread if k != "name")
    recipient = first(fields, _RECIPIENTS)
    return Said(index, role, name, content, key, calls, results,
                trimmed(recipient) or None if isinstance(recipient, str) else None, unread)  # fmt: skip


def _unwrapped(message: dict[str, Any]) -> dict[str, Any]:
    """The fields of a message that LangChain wrapped in `data` or `kwargs`."""
    kind, data, kwargs = message.get("type"), message.get("data"), message.get("kwargs")
    if isinstance(data, dict) and isinstance(kind, str) and message.get("role") is None:
        return {**data, "type": kind}
    if isinstance(kwargs, dict) and kind == "constructor":
        path = message.get("id")
        return {**kwargs, "type": str(path[-1]) if isinstance(path, list) and path else ""}
    author, inner = message.get("author"), message.get("message")
    if message.get("role") is None and isinstance(inner, dict) and "role" in inner:
        return {**{key: value for key, value in message.items() if key != "message"}, **inner}
    if message.get("role") is None and isinstance(author, dict):
        return {**message, "role": author.get("role"), "author": author.get("name")}
    return message


def _langchain(kind: str) -> str:
    """ "HumanMessage" and "AIMessageChunk" are "human" and "ai"."""
    return kind.removesuffix("Chunk").removesuffix("Message").lower()


def _role(place: str, fields: Mapping[str, Any]) -> str | None:
    role = fields.get("role")
    if role is None:
        kind, origin = fields.get("type"), fields.get("from")
        if isinstance(kind, str) and _langchain(kind) in ROLES and "source" not in fields:
            return ROLES[_langchain(kind)]
        if isinstance(origin, str):
            return ROLES.get(origin.strip().lower())
        if not any(isinstance(fields.get(key), str) for key in NAMES):
            keys = ", ".join(brief(key) for key in list(fields)[:15])
            raise BadRecordError(f"{place} has neither a role nor a name; its keys: {keys}")
        return None
    known = ROLES.get(role.strip().lower().rsplit(".", 1)[-1]) if isinstance(role, str) else None
    if known is None:
        raise BadRecordError(
            f"{place}: role {brief(role)!r} is none of system, developer, user, assistant, tool; who speaks belongs "
            "into `name`"
        )
    return known


def _name(place: str, fields: Mapping[str, Any], role: str | None) -> tuple[str | None, str]:
    """Who speaks, and the key that says it. A tool's `name` is its own, not a speaker's."""
    if not isinstance(fields.get("name") or "", str):
        raise BadRecordError(f"{place}: `name` is no text")
    origin = fields.get("from")
    if isinstance(origin, str) and role is None and trimmed(origin):
        return trimmed(origin), "from"
    for key in NAMES if role != "tool" else NAMES[1:]:
        value = fields.get(key)
        value = value.get("name") if isinstance(value, dict) else value
        if not isinstance(value, str) or not trimmed(value):
            continue
        if key == "name" or role is None or value.strip().lower() not in _ORIGINS:
            return trimmed(value), key
    return None, ""


def _content(place: str, fields: Mapping[str, Any], role: str | None) -> Content:
    """The content with what stands beside it: a thought, pictures, a refusal. A tool may give back a bare number."""
    value = first(fields, _CONTENTS)
    if role == "tool":
        value = _plain(value)
    parts = [read_content(place, value)]
    for key in _THOUGHTS:
        text = fields.get(key)
        if isinstance(text, str) and text.strip() and text.strip() not in parts[-1].text:
            parts.insert(0, thought(text))
            break
    refusal, images, audio = fields.get("refusal"), fields.get("images"), fields.get("audio")
    if isinstance(refusal, str) and refusal and value is None:
        parts.append(Content(refusal, refusal))
    if isinstance(images, list):
        parts += [mark("image")] * len(images)
    if isinstance(audio, dict):
        parts += [mark("audio"), read_content(place, audio.get("transcript"))]
    return joined(parts)


def _calls(place: str, fields: Mapping[str, Any], content: Content) -> tuple[Call, ...]:
    """The calls of a message, each once: LangChain and others give them in the content and beside it."""
    extra = fields.get("additional_kwargs")
    sources = [fields] if not isinstance(extra, dict) else [fields, extra]
    listed = content.calls
    for source in sources:
        for key in _CALL_KEYS:
            if source is extra and listed:
                break
            fresh = read_calls(place, source[key]) if source.get(key) else ()
            listed += tuple(call for call in fresh if not any(_same(call, other) for other in listed))
    return listed


def _written_calls(place: str, content: Content) -> tuple[Call, ...]:
    """The calls that the text of a message is the JSON of; none where it is something else."""
    try:
        return read_calls(place, content.text)
    except BadRecordError:
        return ()


def _same(one: Call, other: Call) -> bool:
    """Are these one call, given twice? An id may stand in one of the two places only."""
    if one.id is not None and other.id is not None:
        return one.id == other.id
    return one.name == other.name and call_block(one) == call_block(other)


def _results(fields: Mapping[str, Any], content: Content) -> tuple[Result, ...]:
    """What a tool's message brings back: its parts, AutoGen's `tool_responses`, or the whole of it."""
    if content.results:
        return content.results
    responses = first(fields, _RESPONSES)
    if isinstance(responses, list) and responses and all(isinstance(one, dict) for one in responses):
        return tuple(
            Result(result_ids(one), text_id(one.get("name")), read_content("", first(one, _GIVEN)).text)
            for one in responses
        )
    name = fields.get("name")
    text = content.text or read_content("", fields.get("output")).text
    return (Result(result_ids(fields), name.strip() if isinstance(name, str) else None, text),)


def _beside(calls: tuple[Call, ...]) -> tuple[Result, ...]:
    """The results that stand in the calls themselves."""
    return tuple(Result((call.id,) if call.id else (), call.name, call.result) for call in calls if call.result)


def _item(place: str, index: int, fields: Mapping[str, Any]) -> Said | None:
    """An item of the Responses interface that is no message: a call, its output, or reasoning."""
    kind = fields.get("type")
    if not isinstance(kind, str) or fields.get("role") is not None:
        return None
    if kind.endswith("_call_output"):
        text = read_content(place, _plain(fields.get("output"))).text
        return Said(
            index, "tool", None, Content(text, text), results=(Result(result_ids(fields), None, text),), item=True
        )
    if kind.endswith("_call"):
        call = read_call(place, {"name": kind.removesuffix("_call"), "arguments": fields.get("action"), **fields})
        output = fields.get("output")
        results = (
            ()
            if output is None
            else (Result((call.id,) if call.id else (), None, read_content(place, _plain(output)).text),)
        )
        return Said(index, "assistant", None, Content(), calls=(call,), results=results, item=True)
    if kind == "reasoning":
        inner = joined([read_content(place, fields.get("summary")), read_content(place, fields.get("content"))])
        return Said(index, "assistant", None, thought(inner.text), item=True)
    return None


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | list | dict) or value is None else str(value)


def _event(place: str, index: int, fields: Mapping[str, Any]) -> Said | None:
    """A message or event of AutoGen 0.4: the calls, results and thoughts stand in `content`."""
    kind, source, value = fields.get("type"), fields.get("source"), fields.get("content")
    if not isinstance(kind, str) or not isinstance(source, str) or fields.get("role") is not None:
        return None
    said = Said(index, None, trimmed(source) or None, Content(), "source")
    if kind == "ToolCallRequestEvent":
        return Said(index, "assistant", said.name, Content(), "source", read_calls(place, value))
    if kind == "ToolCallExecutionEvent" and isinstance(value, list):
        results = tuple(
            Result(result_ids(one), text_id(one.get("name")), read_content(place, _plain(one.get("content"))).text)
            for one in value
            if isinstance(one, dict)
        )
        return Said(index, "tool", None, Content(), "source", results=results)
    if kind == "ThoughtEvent" and isinstance(value, str):
        return Said(index, None, said.name, thought(value), "source")
    if kind == "ToolCallSummaryMessage":  # its `tool_calls` were asked for in an event of their own
        return Said(index, None, said.name, read_content(place, value), "source")
    return None
