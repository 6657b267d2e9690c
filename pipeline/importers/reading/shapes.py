"""One JSON value -> the conversations in it: bare, under one of the usual keys, in two halves, wrapped or in a list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from apportion.pipeline.importers.reading.endings import KEYS
from apportion.pipeline.importers.reading.speech import is_message
from apportion.pipeline.importers.reading.text import BadRecordError, brief, holds, opened
from apportion.pipeline.trajectory.columns import fold

CHATS = (
    "messages", "chat_history", "conversation", "conversations", "history", "dialogue", "dialog", "turns", "transcript",
    "chat", "trajectory", "traj", "contents", "items",
)  # fmt: skip
_PROMPTS = ("prompt", "input", "request", "responses_create_params", "question", "problem", "query")
_COMPLETIONS = ("completion", "response", "output", "choices", "generation")
_INSTRUCTIONS = ("system", "system_prompt", "instructions")
_INNER = ("messages", "input", "output", "choices", "message", "contents")
_SHOWN_KEYS = 20
QUESTIONS = ("problem", "query", "task", "input", "instruction", "prompt")
"""Where the question may stand if neither `question` nor a user asks it."""
_KNOWN = {
    fold(key): key for key in (*KEYS, *CHATS, *_PROMPTS, *_COMPLETIONS, *_INSTRUCTIONS, *QUESTIONS, "id", "question")
}


@dataclass(frozen=True)
class Chat:
    """One conversation: its messages as they stand, the fields of its record, and which of them it was made of.

    `suffix` tells several conversations of one value apart. `outer`: keys around them that are no part of any.
    """

    messages: list[Any]
    fields: Mapping[str, Any]
    used: tuple[str, ...]
    suffix: str = ""
    outer: tuple[str, ...] = ()


def chats(value: Any) -> list[Chat | BadRecordError]:
    """The conversations in one JSON value, in order; in a list of records also those that are none.

    Raises BadRecordError, with the keys and the likely format, where there is no conversation at all.
    """
    if isinstance(value, list):
        return _of_list(value)
    if not isinstance(value, dict):
        raise BadRecordError(f"neither an object nor a list of messages, but {type(value).__name__}")
    value = _spelled(value)
    if foreign := likely(value, certain=True):
        raise BadRecordError(f"{foreign}; {_keys(value)}")
    found = _of_record(value)
    if found is not None:
        return [found]
    lists = {key: wrapped for key, inner in value.items() if (wrapped := _conversations(opened(inner)))}
    if len(lists) == 1:
        ((key, wrapped),) = lists.items()
        outer = tuple(brief(k) for k, v in value.items() if k != key and holds(v))
        return [_with_outer(one, outer if i == 0 else ()) for i, one in enumerate(wrapped)]
    held = {key: opened(one) for key, one in value.items()}
    inner = {key: one for key, one in held.items() if isinstance(one, dict) and _of_record(one) is not None}
    if len(inner) == 1:
        ((key, record),) = inner.items()
        found = _of_record({**{k: v for k, v in value.items() if k != key}, **record})
        if found is not None:
            return [Chat(found.messages, found.fields, found.used)]
    several = [*lists, *inner]
    if several:
        raise BadRecordError(
            f"more than one conversation, under {', '.join(map(brief, several))}: one record each, please"
        )
    raise BadRecordError(f"no messages: {likely(value) or 'no conversation under any usual key'}; {_keys(value)}")


def _spelled(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with its keys as they are known, where only case, hyphens or underscores differ ("groundTruth")."""
    known = {key: _KNOWN.get(fold(key), key) if isinstance(key, str) else key for key in record}
    names = list(known.values())
    return {key if known[key] in record or names.count(known[key]) > 1 else known[key]: v for key, v in record.items()}


def likely(value: Any, *, certain: bool = False) -> str:
    """The format that a value seems to have where it is none of ours; "" where nothing tells. `certain`: only formats
    that hold a chat which must not be read as one."""
    keys = _all_keys(value)
    for marks, what, sure in _FOREIGN:
        if (sure or not certain) and all(any(name in keys for name in mark.split("|")) for mark in marks):
            return f"this looks like {what}"
    return ""


_FOREIGN: tuple[tuple[tuple[str, ...], str, bool], ...] = (
    (("history", "mistake_agent"), "a log of Who&When: import it as who-and-when, which reads its labels", True),
    (("problem", "steps", "label"), "a solution of ProcessBench: import it as process-bench", True),
    (("chosen", "rejected"), "a preference pair, which is two endings and no run", True),
    (("model_input_messages|model_output", "step_number|observations"), "the memory steps of smolagents, which are not "
     "read: write each agent's messages as a chat", False),
    (("source", "action|observation"), "the events of OpenHands, which are not read: write them as messages with role "
     "and content", False),
    (("action", "observation", "thought|response"), "the steps of SWE-agent, which are not read: its `history` is",
     False),
    (("mapping", "current_node|title"), "a ChatGPT export, whose messages are a tree: write each path as a list",
     False),
    (("resourceSpans|spans|scopeSpans",), "OpenTelemetry traces, which are not read", False),
    (("run_type|trace_id|traceId", "inputs|outputs|input|output"), "traces of LangSmith or Langfuse, which are not "
     "read: export the messages", False),
    (("tasks_output",), "an output of CrewAI, which is not read: its messages would be", False),
    (("failures", "root_cause"), "labels of AgentRx: `evaluate` reads them", False),
    (("question|problem|query|instruction", "answer|answers|output|target|ground_truth"), "a task file: `sample` reads "
     "it (tasks.path)", False),
)  # fmt: skip


def _of_list(value: list[Any]) -> list[Chat | BadRecordError]:
    if not value:
        raise BadRecordError("an empty list")
    if wrapped := _conversations(value):
        return wrapped
    if any(is_message(item) for item in value):
        return [Chat(value, {}, ())]
    what = likely(value) or f"none of its {len(value):,} items is a message or a conversation"
    raise BadRecordError(f"no messages: {what}; {_keys(value)}")


def _conversations(value: Any) -> list[Chat | BadRecordError]:
    """The conversations of a list of records or of message lists; empty where `value` is neither."""
    if not isinstance(value, list):
        return []
    bare = [item for item in value if isinstance(item, list) and any(is_message(one) for one in item)]
    if not bare and not any(isinstance(item, dict) and _of_record(item) is not None for item in value):
        return []
    return [_numbered(item, number) for number, item in enumerate(value, start=1)]


def _numbered(item: Any, number: int) -> Chat | BadRecordError:
    try:
        found = chats(item)
    except BadRecordError as error:
        return error
    if len(found) > 1 or isinstance(found[0], BadRecordError):
        return BadRecordError(f"a list of {len(found)} conversations within a list of conversations")
    return Chat(found[0].messages, found[0].fields, found[0].used, str(number), found[0].outer)


def _with_outer(one: Chat | BadRecordError, outer: tuple[str, ...]) -> Chat | BadRecordError:
    return one if isinstance(one, BadRecordError) else Chat(one.messages, one.fields, one.used, one.suffix, outer)


def _of_record(fields: Mapping[str, Any]) -> Chat | None:
    """The conversation of a record, its halves put together; None where it has none."""
    key = next((key for key in CHATS if _list_of(fields.get(key))), None)
    prompt = next((key for key in _PROMPTS if _half(fields.get(key), "user")), None)
    if "instruction" in fields and prompt == "input":
        prompt = None  # instruction data: the input is but a part of what is asked
    completion = next((key for key in _COMPLETIONS if _half(fields.get(key), "assistant")), None)
    if key is None and (prompt is None or completion is None):
        return None
    messages = _list_of(fields.get(key)) if key is not None else _half(fields[str(prompt)], "user")
    used = [str(key if key is not None else prompt)]
    if completion is not None and not _ends_with_answer(messages):
        messages = [*messages, *_half(fields[completion], "assistant")]
        used.append(completion)
    system = next((name for name in _INSTRUCTIONS if isinstance(fields.get(name), str | list) and fields[name]), None)
    if system is not None and not _has_system(messages):
        messages = [{"role": "system", "content": fields[system]}, *messages]
        used.append(system)
    return Chat(messages, fields, tuple(used))


def _list_of(value: Any) -> list[Any]:
    """A list of messages, also as JSON text; empty where `value` is something else."""
    value = opened(value)
    if isinstance(value, list):
        value = [opened(item) for item in value]
    return value if isinstance(value, list) and any(is_message(item) for item in value) else []


def _half(value: Any, role: str) -> list[Any]:
    """The messages of a prompt (`role` user) or a completion (assistant): text, messages, a request or a response."""
    if listed := _list_of(value):
        return listed
    inner = opened(value) if isinstance(value, str) else None
    if isinstance(inner, dict) and (is_message(inner) or any(_list_of(inner.get(key)) for key in _INNER)):
        return _half(inner, role)
    if isinstance(value, str) and value.strip():
        return [{"role": role, "content": value}]
    if isinstance(value, list) and len(value) == 1:
        return _half(value[0], role)
    if not isinstance(value, dict):
        return []
    if is_message(value):
        return [value]
    return next((half for key in _INNER if (half := _half(value.get(key), role))), [])


def _ends_with_answer(messages: Iterable[Any]) -> bool:
    last = [item for item in messages if isinstance(item, dict)][-1:]
    return bool(last) and str(last[0].get("role") or last[0].get("type")).lower() not in (
        "user",
        "system",
        "human",
        "tool",
    )


def _has_system(messages: Iterable[Any]) -> bool:
    return any(isinstance(item, dict) and item.get("role") in ("system", "developer") for item in messages)


def _all_keys(value: Any) -> set[str]:
    items = value[:50] if isinstance(value, list) else [value]
    return {str(key) for item in items if isinstance(item, dict) for key in item}


def _keys(value: Any) -> str:
    """The keys that were seen, for a refusal."""
    items = value[:50] if isinstance(value, list) else [value]
    keys = list(dict.fromkeys(brief(key) for item in items if isinstance(item, dict) for key in item))
    if not keys:
        return "it has no keys"
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return f"its keys: {', '.join(keys[:_SHOWN_KEYS])}{more}"
