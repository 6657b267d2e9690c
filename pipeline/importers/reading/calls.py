"""Tool calls in the spellings of the usual interfaces, and which result answers which of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apportion.pipeline.importers.reading.text import BadRecordError, as_text, brief, load_json

_IDS = ("call_id", "tool_call_id", "toolCallId", "toolUseId", "tool_use_id", "id")
_NAMES = ("name", "tool_name", "toolName", "tool", "function")
_ARGUMENTS = ("arguments", "args", "input", "parameters", "tool_input")
_RESULTS = ("result", "output", "response", "return_value", "observation")
_WRAPPERS = ("function", "functionCall", "function_call", "toolUse", "tool_use", "tool_call", "toolInvocation")


@dataclass(frozen=True)
class Call:
    """A tool call as it was written; `arguments` as text, JSON where they were an object."""

    id: str | None
    name: str
    arguments: str
    result: str | None = None
    """What the tool gave back, where it stands beside the call."""


@dataclass(frozen=True)
class Result:
    """What a tool gave back: the ids of the calls that it answers, where it says so, and the tool's name likewise."""

    ids: tuple[str, ...]
    name: str | None
    text: str


@dataclass(frozen=True)
class Made:
    """A call and who made it."""

    call: Call
    agent: str
    role: str


@dataclass
class Ledger:
    """The calls of a conversation so far, and which of them wait for their results."""

    _by_id: dict[str, Made] = field(default_factory=dict)
    _waiting: list[Made] = field(default_factory=list)

    def add(self, calls: Sequence[Call], agent: str, role: str) -> None:
        for call in calls:
            made = Made(call, agent, role)
            self._waiting.append(made)
            if call.id is not None:
                self._by_id[call.id] = made

    def take(self, result: Result) -> list[Made]:
        """The calls that a result answers: by id, else the first that waits, preferably one of the same name.

        Empty where no call waits. Raises BadRecordError for an id that no call has where all calls have ids.
        """
        found = [self._by_id[i] for i in result.ids if i in self._by_id]
        if not found and result.ids and not any(made.call.id is None for made in self._waiting):
            raise BadRecordError("answers no tool call made before it (`tool_call_id`)")
        if not found:
            open_calls = [made for made in self._waiting if not result.ids or made.call.id is None]
            named = [made for made in open_calls if made.call.name == result.name]
            found = (named or open_calls)[:1]
        for made in found:
            if made in self._waiting:
                self._waiting.remove(made)
        return found


def text_id(value: Any) -> str | None:
    """An id as text; None for an empty one."""
    return None if value is None or value == "" or isinstance(value, dict | list) else str(value)


def first(fields: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """The value of the first of `keys` that is there and not null."""
    return next((fields[key] for key in keys if fields.get(key) is not None), None)


def result_ids(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of the calls that a tool's message answers (`tool_call_id`, `tool_call_ids`, `call_id`, ...)."""
    several = fields.get("tool_call_ids")
    if isinstance(several, list) and several:
        return tuple(i for value in several if (i := text_id(value)) is not None)
    one = text_id(first(fields, _IDS[:-1]))
    return () if one is None else (one,)


def read_calls(place: str, value: Any) -> tuple[Call, ...]:
    """The calls of a message: a list, one object, or either as JSON text. Raises BadRecordError."""
    if isinstance(value, str):
        try:
            value = load_json(value) if value.strip() else []
        except BadRecordError as error:
            raise BadRecordError(f"{place}: a tool call is text, but {error}") from error
    listed = [value] if isinstance(value, dict) and value else value or []
    if not isinstance(listed, list):
        raise BadRecordError(f"{place}: `tool_calls` is no list")
    calls = tuple(read_call(place, item) for item in listed)
    ids = [call.id for call in calls if call.id is not None]
    if len(ids) > len(set(ids)):
        raise BadRecordError(f"{place}: two tool calls have the same id")
    return calls


def read_call(place: str, value: Any) -> Call:
    """One call, flat or with its function inside. Raises BadRecordError where it has no name."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = load_json(value)
    if not isinstance(value, dict):
        raise BadRecordError(f"{place}: a tool call lacks its function's name")
    inner = next((value[key] for key in _WRAPPERS if isinstance(value.get(key), dict)), value)
    name = next((inner[key] for key in _NAMES if isinstance(inner.get(key), str) and inner[key].strip()), None)
    if name is None:
        raise BadRecordError(
            f"{place}: a tool call lacks its function's name; its keys: {', '.join(map(brief, list(inner)[:15]))}"
        )
    given = first(inner, _ARGUMENTS)
    given = first(value, _ARGUMENTS) if given is None else given
    arguments = "" if given is None else given if isinstance(given, str) else as_text(given)
    identity = text_id(first(value, _IDS))
    given = next((one for fields in (value, inner) if (one := first(fields, _RESULTS)) is not None), None)
    result = given if given is None or isinstance(given, str) else as_text(given)
    return Call(text_id(first(inner, _IDS)) if identity is None else identity, name.strip(), arguments, result)


def call_block(call: Call) -> str:
    """A call as an assistant writes it in the chat templates that follow Hermes (Qwen, SmolLM)."""
    try:
        arguments = load_json(call.arguments)
    except BadRecordError:
        arguments = call.arguments
    body = json.dumps({"name": call.name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{body}\n</tool_call>"
