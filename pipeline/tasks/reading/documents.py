"""The rows in one JSON document: a list, a list under some key, rows by their id, or a list a column."""

from __future__ import annotations

from typing import Any

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.trajectory.columns import QUESTION_COLUMNS, fold

_WRAPPERS = ("data", "rows", "examples", "questions", "items", "samples", "records", "instances", "tasks", "results")
_QUESTIONS = {fold(name) for name in QUESTION_COLUMNS}


def rows_of_document(document: Any, place: str, split: str | None) -> list[Any]:
    """The rows that `document` holds. Raises UserError, naming its keys, where none of the usual shapes is there."""
    if isinstance(document, list):
        return [row for element in document for row in _unwrapped(element)]
    if not isinstance(document, dict):
        raise UserError(f"{place}: holds {type(document).__name__}, not a list of rows; one object a line is .jsonl")
    lists = {key: value for key, value in document.items() if _is_rows(value)}
    if lists:
        return rows_of_document(lists[_chosen(lists, place, split)], place, split)
    by_column = {key: value for key, value in document.items() if fold(key) in _QUESTIONS}
    if any(isinstance(value, str) for value in by_column.values()):
        return [document]
    if by_column:
        return _turned(document, place)
    if document and all(isinstance(value, dict) for value in document.values()):
        return [{"id": key, **row} for key, row in document.items()]
    keys = ", ".join(list(document)[:12]) or "no key"
    raise UserError(f"{place}: holds an object with {keys}, not a list of rows; one object a line is .jsonl")


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) and "role" not in row for row in value)


def _chosen(lists: dict[str, Any], place: str, split: str | None) -> str:
    """The key of the list that is meant: the split's, the only one, or the only usual one."""
    if split is not None and split in lists:
        return split
    usual = [key for key in lists if fold(key) in _WRAPPERS]
    for keys in (list(lists), usual):
        if len(keys) == 1:
            return keys[0]
    problem = "holds several lists of rows" if split is None else f"has no split {split!r}"
    raise UserError(f"{place}: {problem}; name one with tasks.split: {', '.join(lists)}")


def _unwrapped(element: Any) -> list[Any]:
    """Rows of SQuAD's paragraphs and of the hub's row viewer; any other element as it is."""
    if not isinstance(element, dict):
        return [element]
    if isinstance(element.get("row"), dict) and "row_idx" in element:
        return [element["row"]]
    paragraphs = element.get("paragraphs")
    if not (isinstance(paragraphs, list) and paragraphs and all(_has_questions(one) for one in paragraphs)):
        return [element]
    above = {key: value for key, value in element.items() if key != "paragraphs"}
    return [
        {**above, **{key: value for key, value in paragraph.items() if key != "qas"}, **asked}
        for paragraph in paragraphs
        for asked in paragraph["qas"]
    ]


def _has_questions(paragraph: Any) -> bool:
    return isinstance(paragraph, dict) and _is_rows(paragraph.get("qas"))


def _turned(columns: dict[str, Any], place: str) -> list[Any]:
    """Rows from a list (or pandas' object by row number) a column."""
    cells = {key: list(value.values()) if isinstance(value, dict) else value for key, value in columns.items()}
    lengths = {key: len(value) for key, value in cells.items() if isinstance(value, list)}
    if len(lengths) != len(cells) or len(set(lengths.values())) != 1:
        raise UserError(f"{place}: its columns are not lists of one length: {', '.join(map(str, cells))}")
    return [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
