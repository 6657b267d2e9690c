"""The content of a message: text, or parts of text, thinking, tool calls, tool results and what is no text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apportion.pipeline.importers.reading.answers import without_thoughts
from apportion.pipeline.importers.reading.calls import Call, Result, first, read_call, result_ids, text_id
from apportion.pipeline.importers.reading.text import BadRecordError, as_text, brief

_TEXTS = ("text", "value", "content", "refusal", "transcript")
_THOUGHTS = ("thinking", "reasoning", "reasoning_content", "thought", "summary", "text", "content")
_CALLS = ("tool_use", "server_tool_use", "tool-call", "tool_call", "function_call", "mcp_tool_use")
_RESULTS = ("tool_result", "tool-result", "function_call_output", "function_response", "tool_call_result")
_CALL_KEYS = ("functionCall", "function_call", "toolUse", "tool_call")
_RESULT_KEYS = ("functionResponse", "function_response", "toolResult", "tool_call_result")
_RESULT_TEXTS = ("content", "output", "result", "response", "text")
_MEDIA = {"image": "image", "audio": "audio", "video": "video", "file": "file", "document": "file", "pdf": "file"}
_MIME = ("mime_type", "mimeType", "media_type", "mediaType")


@dataclass(frozen=True)
class Content:
    """What a message holds. `text` is all of it as text; `spoken` what is left without thinking and marks of media.

    `marks`: the kinds of the parts that stand in `text` by a mark only, such as [image], or behind one, [thinking].
    """

    text: str = ""
    spoken: str = ""
    calls: tuple[Call, ...] = ()
    results: tuple[Result, ...] = ()
    marks: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Is there neither text nor a call nor a result?"""
        return not (self.text.strip() or self.calls or self.results)


def joined(contents: list[Content]) -> Content:
    """Contents one after another, their texts on lines of their own."""
    return Content(
        "\n".join(content.text for content in contents if content.text),
        "\n".join(content.spoken for content in contents if content.spoken),
        tuple(call for content in contents for call in content.calls),
        tuple(result for content in contents for result in content.results),
        tuple(mark for content in contents for mark in content.marks),
    )


def read_content(place: str, value: Any) -> Content:
    """The content of a message. `place` is named in errors. Raises BadRecordError for what is neither."""
    if value is None:
        return Content()
    if isinstance(value, str):
        return Content(value, without_thoughts(value))
    if isinstance(value, dict):
        inner = value.get("parts")
        return joined([_part(place, part) for part in inner]) if isinstance(inner, list) else _part(place, value)
    if isinstance(value, list):
        return joined([_part(place, part) for part in value])
    raise BadRecordError(f"{place}: `content` is neither text nor a list of parts")


def thought(text: str) -> Content:
    """What an agent only thought, behind its mark."""
    return Content(f"[thinking] {text}".rstrip(), "", marks=("thinking",))


def mark(kind: str) -> Content:
    """The mark of a part that is no text."""
    name = brief(kind)
    return Content(f"[{name}]", "", marks=(name,))


def _part(place: str, part: Any) -> Content:
    if part is None or isinstance(part, str):
        return read_content(place, part)
    if not isinstance(part, dict):
        raise BadRecordError(f"{place}: a part of its content is neither text nor an object")
    kind = part.get("type") or part.get("block_type") or part.get("kind")
    kind = kind.strip().lower() if isinstance(kind, str) else ""
    if kind in _CALLS or any(isinstance(part.get(key), dict) for key in _CALL_KEYS):
        return Content(calls=(read_call(place, part),))
    if kind in _RESULTS or any(isinstance(part.get(key), dict) for key in _RESULT_KEYS):
        return _result(place, part)
    if "thinking" in kind or "reasoning" in kind or kind == "thought":
        return thought(_flat(first(part, _THOUGHTS)))
    if medium := _medium(kind, part):
        return mark(medium)
    text = _text(part)
    if text is not None:
        return Content(text, without_thoughts(text))
    if kind.endswith("text") and any(part.get(key) is not None for key in part if key not in ("type", "annotations")):
        raise BadRecordError(
            f"{place}: a part of type {kind!r} has no text; its keys: {', '.join(map(brief, list(part)[:15]))}"
        )
    return mark(kind) if kind else Content(written := as_text(part), written)


def _text(part: Mapping[str, Any]) -> str | None:
    """The text of a part, be it in `text`, `value`, `content` or under its own kind, or one level down; else None."""
    for key in (*_TEXTS, *_own_kind(part)):
        value = part.get(key)
        if isinstance(value, dict):
            value = first(value, _TEXTS)
        if isinstance(value, str):
            return value
        if isinstance(value, bool | int | float):
            return as_text(value)
        if isinstance(value, list) and all(isinstance(item, str | dict) for item in value):
            return _flat(value)
    return None


def _own_kind(part: Mapping[str, Any]) -> tuple[str, ...]:
    """The key that is called as the part's type: {"type": "code", "code": ...}."""
    kind = part.get("type")
    return (kind,) if isinstance(kind, str) and isinstance(part.get(kind), str) else ()


def _flat(value: Any) -> str:
    """Text out of text, an object with text, or a list of either."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(text for item in value if (text := _flat(item)))
    inner = _text(value) if isinstance(value, dict) else None
    return as_text(value) if inner is None else inner


def _medium(kind: str, part: Mapping[str, Any]) -> str | None:
    """The kind of thing that a part is where it is no text."""
    for word, medium in _MEDIA.items():
        if word in kind:
            return medium
    if kind:
        return None
    held = next((value for value in (part, *part.values()) if isinstance(value, dict) and first(value, _MIME)), None)
    if held is not None:
        family = str(first(held, _MIME)).split("/")[0]
        return family if family in ("image", "audio", "video") else None if family == "text" else "file"
    keys = [str(key).lower() for key, value in part.items() if value is not None]
    words = [medium for key in keys for word, medium in _MEDIA.items() if word in key]
    if words:
        return words[0]
    return "data" if set(part) == {"data"} else None


def _result(place: str, part: Mapping[str, Any]) -> Content:
    inner = next((part[key] for key in _RESULT_KEYS if isinstance(part.get(key), dict)), part)
    ids = result_ids(inner) or result_ids(part)
    name = next((fields[key] for fields in (inner, part) for key in ("name", "toolName", "tool_name")
                 if isinstance(fields.get(key), str)), None)  # fmt: skip
    value = first(inner, _RESULT_TEXTS)
    content = read_content(place, value) if isinstance(value, str | list) else Content(_flat(value))
    if not ids and (origin := inner.get("origin")) and isinstance(origin, dict):
        one = text_id(origin.get("id"))
        ids = () if one is None else (one,)
    return Content(results=(Result(ids, name, content.text),), marks=content.marks)
