"""The references in a cell: of a scalar, a list, a list or object as JSON text, or what data sets nest."""

from __future__ import annotations

import ast
import datetime
import decimal
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from apportion.pipeline.trajectory.answer import boxed, normalize

_DEPTH = 4
_INSIDE = (
    "groundtruth", "target", "targets", "value", "text", "spans", "inputtext", "answer", "answers", "references",
    "goldenanswers", "goldanswers", "gold", "finalanswer", "correctanswer", "reference", "label", "labels",
    "number",
)  # fmt: skip
"""Keys under which an object holds the answer, without case and underscores, the likeliest first."""
_ALIASES = ("aliases", "answeraliases")
_NORMALIZED = ("normalizedaliases", "normalizedvalue")
_TRUTH = {True: ["yes", "true"], False: ["no", "false"]}
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.S | re.I)
_QUOTED = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_PLURAL = re.compile(r"(?:s|aliases|gold)$", re.I)


def references_in(value: Any, column: str) -> tuple[list[str], list[str]]:
    """(the references, doubles dropped; the keys of objects in which none was found).

    A boolean is yes or no, and true or false. A text after "####" or in the last \\boxed{...} is the answer of a
    worked solution. A text that is a JSON or Python list of texts is a list; a list of numbers is one only where the
    column's name is a plural, since "[0, 1]" may be the answer itself.
    """
    unread: list[str] = []
    found = _texts(value, bool(_PLURAL.search(column)), unread, _DEPTH)
    return list(dict.fromkeys(text for text in found if text)), unread


def spare(value: Any, references: Sequence[str]) -> bool:
    """Whether a cell says more than the references taken from it."""
    if isinstance(value, str):
        return value.strip() not in references and not _as_list(value, True)
    if isinstance(value, list):
        return any(spare(inner, references) for inner in value)
    return isinstance(value, dict)


def _texts(value: Any, plural: bool, unread: list[str], depth: int) -> list[str]:
    if depth == 0 or value is None:
        return []
    if isinstance(value, bool):
        return _TRUTH[value]
    if isinstance(value, list | tuple):
        return [text for inner in value for text in _texts(inner, plural, unread, depth - 1)]
    if isinstance(value, dict):
        return _of_object(value, unread, depth)
    if not isinstance(value, str):
        return [_number(value)]
    text = value.strip()
    listed = _as_list(text, plural)
    if listed is not None:
        return _texts(listed, plural, unread, depth - 1)
    if text.startswith("{"):
        return _of_json(text, unread, depth)
    if text.lower() in ("true", "false"):
        return [text, "yes" if text.lower() == "true" else "no"]
    return [_final(text)]


def _of_object(value: dict[Any, Any], unread: list[str], depth: int) -> list[str]:
    """SQuAD's {text}, TriviaQA's {value, aliases, normalized_aliases}, verl's {ground_truth: {target}}."""
    keys = {re.sub(r"[\s_-]+", "", str(key)).casefold(): key for key in value}
    main: list[str] = []
    for name in _INSIDE:
        if name in keys and not main:
            main = _texts(value[keys[name]], bool(_PLURAL.search(name)), unread, depth - 1)
    for name in _ALIASES:
        if name in keys:
            main += _texts(value[keys[name]], True, unread, depth - 1)
    # Their normalized forms are mostly what the verifier makes of the others.
    known = {normalize(text) for text in main}
    for name in _NORMALIZED:
        if name in keys:
            main += [
                text for text in _texts(value[keys[name]], True, unread, depth - 1) if normalize(text) not in known
            ]
            known |= {normalize(text) for text in main}
    if not main and not keys.keys() & {*_INSIDE, *_ALIASES, *_NORMALIZED}:
        unread.extend(str(key) for key in value)
    return main


def _of_json(text: str, unread: list[str], depth: int) -> list[str]:
    """A JSON object that nests the answer; any other text in braces is itself the answer ({1, 2}, code)."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return [_final(text)]
    inner: list[str] = []
    return (_of_object(found, inner, depth) if isinstance(found, dict) else []) or [_final(text)]


def _as_list(text: str, plural: bool) -> list[Any] | None:
    """The list that `text` writes, in JSON or as Python prints it; None where it is no such list."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _printed(text)
    if not isinstance(found, list) or (not found and not plural):
        return None
    return found if plural or all(isinstance(inner, str) for inner in found) else None


def _printed(text: str) -> Any:
    """A list as Python or NumPy print it; None where `text` is neither. NumPy puts no commas: ['a' 'b']."""
    if re.fullmatch(rf"\[\s*{_QUOTED}(?:\s+{_QUOTED})+\s*\]", text):
        text = "[" + ",".join(re.findall(_QUOTED, text)) + "]"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _number(value: Any) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, int | decimal.Decimal) else ""


def _final(text: str) -> str:
    """The answer of a worked solution; a text that is none as it stands."""
    # GSM8K writes the worked solution first and the reference after four hashes.
    if "####" in text:
        return _THOUSANDS.sub("", text.rsplit("####", 1)[1].strip())
    tagged = _TAGGED.findall(text)
    if tagged:
        return str(tagged[-1]).strip()
    return boxed(text) or text
