"""What the columns of a row mean: its question, its references, whether it can be answered, and the rest.

Data sets call the same thing by many names, in any case, with or without underscores, and sometimes one level down.
"""

from __future__ import annotations

import ast
import datetime
import decimal
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from apportion.pipeline.trajectory.references import references_in, spare

QUESTION_COLUMNS = (
    "question", "problem", "prompt", "query", "question_text", "problem_statement", "user_prompt", "input",
    "instruction", "messages", "conversations", "conversation",
)  # fmt: skip
"""Names of the question, the likeliest first."""

REFERENCE_COLUMNS = (
    "references", "answers", "answer", "ground_truth", "ground_truths", "golden_answers", "golden_answer",
    "gold_answers", "gold_answer", "gold", "target", "targets", "final_answer", "correct_answer", "correct_answers",
    "expected_answer", "expected_output", "expected", "ideal", "reference_answers", "reference_answer", "reference",
    "short_answers", "short_answer", "answer_text", "answers_spans", "possible_answers", "accepted_answers",
    "acceptable_answers", "reward_model.ground_truth", "reward_model.answer", "reward_spec.ground_truth",
    "extra_info.ground_truth", "extra_info.answer", "info.ground_truth", "info.answer", "metadata.ground_truth",
    "metadata.answer", "answer_key", "gt", "true_answer", "truth", "solution", "label", "labels",
)  # fmt: skip
"""Names of the right answer, the likeliest first; a dot leads one level down."""

ALIAS_COLUMNS = (
    "answer_aliases", "answers_aliases", "aliases", "answer_alias", "alternative_answers", "alternate_answers",
    "accepted_answers", "acceptable_answers", "golden_answers", "gold_answers", "possible_answers",
    "normalized_aliases",
)  # fmt: skip
"""Names of further right answers: they add to whichever column holds the answer."""

_CHOICES = ("choices", "options")
_ASKED_BY = ("user", "human", "prompter")
_NO = (False, 0, "false", "no", "0")
_YES = (True, 1, "true", "yes", "1")


class BadRowError(ValueError):
    """A row that cannot become a task; the message is the reason in the rejects table."""


@dataclass(frozen=True)
class Question:
    """The question, the column that holds it, and whether that column says no more than it."""

    text: str
    column: str
    whole: bool


@dataclass(frozen=True)
class Answer:
    """The references, the canonical one first, and the columns that say no more than them."""

    references: list[str]
    columns: tuple[str, ...]


def question_of(columns: Mapping[str, Any], names: Sequence[str]) -> Question:
    """The question under the first of `names` that the row fills: a text, or the last user message of a chat.

    Raises BadRowError, which names the columns that are there.
    """
    path = _filled(columns, names, "question")
    where, value = ".".join(path), _chat(_at(columns, path))
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    if isinstance(value, list) and value and all(map(_is_message, value)):
        text, whole = _last_asked(value, where), len(value) == 1
    elif isinstance(value, str):
        text, whole = value, len(path) == 1
    else:
        kind = "NoneType" if value is None else "a list" if isinstance(value, list) else type(value).__name__
        raise BadRowError(
            f"question in {where!r} is {kind}, not text and no chat; name its column: tasks.question=COLUMN"
        )
    if not text.strip():
        raise BadRowError(f"empty question in {where!r}")
    return Question(text.strip(), path[0], whole)


def answer_of(columns: Mapping[str, Any], names: Sequence[str]) -> Answer:
    """The references under the first of `names` that the row fills, and the aliases that other columns add.

    With one name (the user's own) only a column `<name>_aliases` adds to it. Raises BadRowError: no such column, an
    unanswerable row, or nothing that can be read in it.
    """
    reason = unanswerable(columns)
    if reason:
        raise BadRowError(reason)
    if len(names) > 1 and all(_path(columns, name) for name in ("steps", "label", "final_answer_correct")):
        names = tuple(name for name in names if name != "label")
        if not any((path := _path(columns, name)) and not _is_empty(_at(columns, path)) for name in names):
            raise BadRowError(
                "no answer: a solution of ProcessBench, whose 'label' is its first wrong step; `import` reads it"
            )
    path = _filled(columns, names, "answer")
    where, value = ".".join(path), _at(columns, path)
    references, unread = references_in(value, where)
    if not references:
        inside = f": it holds {', '.join(unread)}; name one: tasks.answer={where}.{unread[0]}" if unread else ""
        raise BadRowError(f"no answer in {where!r}{inside or ': it is empty, as where a question has no answer'}")
    # A dict says more than its references (a worked solution, a style), and so does a text that was cut down.
    used = [path[0]] if len(path) == 1 and not spare(value, references) else []
    aliases = ALIAS_COLUMNS if len(names) > 1 else (f"{names[0]}_aliases",)
    for name in aliases:
        found = _path(columns, name)
        if found is None or found == path or (name == "possible_answers" and _chosen(columns, references)):
            continue
        value = _at(columns, found)
        more, _ = references_in(value, name)
        references = [*references, *(text for text in more if text not in references)]
        if len(found) == 1 and not spare(value, more):
            used.append(found[0])
    return Answer(references, tuple(used))


def cell(columns: Mapping[str, Any], name: str) -> tuple[tuple[str, ...], Any] | None:
    """The path and the value of the column `name`, as names of columns are read; None where it is not there.

    Raises BadRowError where two columns read as it.
    """
    path = _path(columns, name)
    return None if path is None else (path, _at(columns, path))


def unanswerable(columns: Mapping[str, Any]) -> str | None:
    """Why the row says of itself that it has no answer (MuSiQue's and SQuAD's columns); None where it has one."""
    for name, values in (("answerable", _NO), ("is_impossible", _YES), ("unanswerable", _YES)):
        path = _path(columns, name)
        value = None if path is None else _at(columns, path)
        if isinstance(value, bool | int | str) and (value.lower() if isinstance(value, str) else value) in values:
            return f"unanswerable: {name!r} is {str(value).lower()}"
    return None


def meta_of(columns: Mapping[str, Any], taken: set[str]) -> dict[str, Any]:
    """Every column that is not `taken`, as JSON can hold it; a `meta` of the row's own is spread out.

    Nothing is overwritten: where a key of `meta` is a column too, `meta` stays whole under its own name.
    """
    others = {name: plain(value) for name, value in columns.items() if name not in taken and name != "meta"}
    if "meta" not in columns or "meta" in taken:
        return others
    own = columns["meta"]
    if isinstance(own, str) and own.lstrip().startswith("{"):
        try:
            own = json.loads(own)
        except ValueError:
            return {**others, "meta": own}
    if isinstance(own, dict) and not own.keys() & others.keys():
        return {**plain(own), **others}
    return {**others, "meta": plain(own)}


def plain(value: Any) -> Any:
    """`value` with what JSON cannot hold written as text: times, decimals, infinities; bytes by their number."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, decimal.Decimal) else repr(value)


@lru_cache(4096)
def fold(name: str) -> str:
    """A column's name without case, spaces, hyphens and underscores: "Final answer" is final_answer."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def _filled(columns: Mapping[str, Any], names: Sequence[str], what: str) -> tuple[str, ...]:
    """The path of the first of `names` that holds something, else of the first that is there."""
    first = None
    for name in names:
        path = _path(columns, name)
        if path is not None and not _is_empty(_at(columns, path)):
            return path
        first = first or path
    if first is not None:
        return first
    shown = " or ".join(names) if len(names) <= 4 else f"{' or '.join(names[:4])} (or another usual name)"
    inside = "".join(
        f"; {name!r} holds {', '.join(map(str, value))}: name one as {name}.KEY"
        for name, value in columns.items()
        if isinstance(value, dict) and value and name != "meta"
    )
    cure = f"; name it: tasks.{what}=COLUMN" if len(names) > 1 and not inside else inside
    raise BadRowError(f"no {what}: no column {shown}; the row has {', '.join(map(str, columns))}{cure}")


def _path(columns: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    """The keys that lead to the column `name`: exactly so called, else but for case, else down its dots."""
    if name in columns:
        return (name,)
    wanted = fold(name)
    alike = [column for column in columns if isinstance(column, str) and fold(column) == wanted]
    if len(alike) > 1:
        said = " and ".join(repr(column) for column in alike)
        raise BadRowError(f"the columns {said} both read as {name!r}; rename one, or name the one that is meant")
    if alike:
        return (alike[0],)
    head, dot, rest = name.partition(".")
    above = _path(columns, head) if dot and head and rest else None
    if above is None:
        return None
    inner = _opened(_at(columns, above))
    below = _path(inner, rest) if isinstance(inner, dict) else None
    return None if below is None else (*above, *below)


def _at(columns: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = columns
    for key in path:
        value = _opened(value)[key]
    return value


def _opened(value: Any) -> Any:
    """The object in a JSON text; anything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return found if isinstance(found, dict) else value
    return value


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {}) or (isinstance(value, float) and math.isnan(value))


def _chosen(columns: Mapping[str, Any], references: Sequence[str]) -> bool:
    """Whether the possible answers are what is chosen from: the answer is a letter or a number among them."""
    if any(_path(columns, name) for name in _CHOICES):
        return True
    return all(re.fullmatch(r"[A-Za-z]|\d{1,2}", reference) for reference in references)


def _chat(value: Any) -> Any:
    """`value`, or the list of messages that it holds: in a JSON text or as Python prints it, as one message, under
    `messages`, or as the only item of a list."""
    found = value
    if isinstance(value, str) and re.match(r"\s*(?:\[\s*)*\{", value):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            found = _python(value)
    if isinstance(found, dict):
        found = found["messages"] if isinstance(found.get("messages"), list) else [found]
    if isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    is_chat = isinstance(found, list) and bool(found) and all(map(_is_message, found))
    return found if is_chat else value


def _python(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and bool(_role(value)) and any(key in value for key in ("content", "value", "data"))


def _role(message: Mapping[str, Any]) -> str:
    """Who speaks: in `role`, in ShareGPT's `from`, or in the type of LangChain ("human", "HumanMessage")."""
    named = next((message[key] for key in ("role", "from", "type") if isinstance(message.get(key), str)), "")
    role = named.strip().lower()
    return role.removesuffix("message") if "role" not in message and role != "message" else role


def _last_asked(chat: Sequence[dict[str, Any]], where: str) -> str:
    """The text of the last user message."""
    roles = [_role(message) for message in chat]
    asked = [message for message, role in zip(chat, roles, strict=True) if role in _ASKED_BY]
    if not asked:
        raise BadRowError(f"no user message in {where!r}; its roles are {', '.join(dict.fromkeys(roles))}")
    last = asked[-1]
    held = last["data"] if isinstance(last.get("data"), dict) else last
    return "\n".join(_parts(held.get("content", held.get("value")), where))


def _parts(content: Any, where: str) -> Iterator[str]:
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if kind not in ("text", "input_text"):
            raise BadRowError(f"the question in {where!r} has a part of type {kind!r}, which no agent here can read")
        text = part
        while isinstance(text, dict):  # {"type": "text", "text": {"value": ...}}
            inside: dict[str, Any] = text
            text = next((inside[key] for key in ("text", "value", "content") if inside.get(key) is not None), None)
        if text is not None:
            yield str(text)
