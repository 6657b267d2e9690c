"""Bytes to text to JSON values, with a plain reason where that fails."""

from __future__ import annotations

import json
from typing import Any


class BadRecordError(ValueError):
    """A record that breaks a rule of its format; the text is the reason that the reject shows.

    With `kind` the records refused for this kind of reason are counted in a line of their own.
    """

    def __init__(self, reason: str, kind: str = "") -> None:
        super().__init__(reason)
        self.kind = kind


def load_json(text: str) -> Any:
    """The JSON value in `text`. Raises BadRecordError if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRecordError(json_problem(error)) from error


def json_problem(error: Exception) -> str:
    """Why a text is no JSON that can be used."""
    if isinstance(error, RecursionError):
        return "not usable JSON (nested too deeply)"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error})"
    return "not usable JSON (a whole number of too many digits; write it as text)"


def brief(value: Any) -> str:
    """A key or a value for a line on screen: at most 40 characters, control characters as escapes."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(value)[:40])


def holds(value: Any) -> bool:
    """Does a value say anything: is it neither null nor empty nor blank?"""
    return bool(value.strip()) if isinstance(value, str) else value not in (None, [], {})


def opened(value: Any) -> Any:
    """The list or object in a JSON text, as columns of Parquet and CSV hold them; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            found = load_json(value)
        except BadRecordError:
            return value
        return found if isinstance(found, list | dict) else value
    return value


def parse_json(text: str) -> Any:
    """The JSON value in `text`. Raises BadRecordError if it is not JSON or holds what UTF-8 cannot write."""
    value = load_json(text)
    as_text(value)
    return value


def as_text(value: Any) -> str:
    """`value` as JSON. Raises BadRecordError for what UTF-8 cannot write and for what nests too deeply."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRecordError("the text holds half of a surrogate pair, which is no character") from error
    except (ValueError, RecursionError) as error:
        raise BadRecordError(json_problem(error)) from error
    return text


def decode(raw: bytes) -> str:
    """`raw` as UTF-8, a byte-order mark dropped. Raises BadRecordError."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRecordError(f"not UTF-8 ({error.reason} at byte {error.start})") from error


def printable(raw: str | bytes) -> str:
    """Text that every table can hold: what is no character is shown as an escape or a replacement mark."""
    if isinstance(raw, bytes):
        return raw.decode("utf-8", "replace")
    return raw.encode("utf-8", "backslashreplace").decode()


def without_nul(value: Any) -> tuple[Any, int]:
    """`value` with every NUL in its texts replaced by U+FFFD, and how many there were.

    Raises BadRecordError for what UTF-8 cannot write and for what nests too deeply.
    """
    if "\\u0000" not in as_text(value):
        return value, 0
    count = 0

    def replaced(one: Any) -> Any:
        nonlocal count
        if isinstance(one, str):
            count += one.count("\0")
            return one.replace("\0", "\N{REPLACEMENT CHARACTER}")
        if isinstance(one, dict):
            return {replaced(key): replaced(item) for key, item in one.items()}
        return [replaced(item) for item in one] if isinstance(one, list) else one

    return replaced(value), count
