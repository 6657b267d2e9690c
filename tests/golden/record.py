"""Tables as a record that can be kept, and what differs between two: table, column and first differing row.

Numbers are compared after rounding to 9 significant digits, and are nothing below 1e-12, where rounding errors live.
Left out are times, and the folder of the run is cut out of every text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

DIGITS = 9
NOTHING = 1e-12
FOLDER = "<folder>"
TIMES = ("created",)
"""Columns that are another every time."""
SHORT = 40
"""A value of at most so many characters stands in the golden file as it is."""
TICKS = 2
"""Characters that a row's value is told apart by, beside the digest of its whole column."""

Record = dict[str, dict[str, dict[str, Any]]]
"""By step and table: `columns` (name: type) and `rows` (lists of cells)."""


def shards(store: Path) -> dict[Path, tuple[int, int]]:
    """The committed files of a store, each with what changes when it is written again."""
    found = sorted(store.glob("[!_.]*/run_id=*/**/part-*.parquet"))
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def written(store: Path, before: Mapping[Path, object]) -> dict[str, pa.Table]:
    """The rows of all files that were written since `before`, a table each; and the list of these files."""
    fresh = [path for path, stamp in shards(store).items() if before.get(path) != stamp]
    tables: dict[str, list[pa.Table]] = {}
    for path in fresh:
        tables.setdefault(path.relative_to(store).parts[0], []).append(_rows(path, store))
    files = [_file(path, store) for path in fresh]
    made = {name: pa.concat_tables(parts, promote_options="default") for name, parts in tables.items()}
    return made | ({"shards": pa.Table.from_pylist(files)} if files else {})


def _partition(path: Path, store: Path) -> dict[str, str]:
    return dict(part.split("=", 1) for part in path.relative_to(store).parts[1:-1])


def _rows(path: Path, store: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        table = file.read()
    columns = {name: pa.array([value] * len(table)).cast(pa.string()) for name, value in _partition(path, store).items()}
    return pa.table(columns | {name: table[name] for name in table.column_names})


def _file(path: Path, store: Path) -> dict[str, str]:
    """A shard by name, with the notes that the store made in its footer."""
    notes = pq.read_metadata(path).metadata or {}
    ours = {key.decode(): value.decode() for key, value in notes.items() if key.startswith(b"apportion.")}
    return {"path": str(path.relative_to(store)), **dict(sorted(ours.items()))}


def recorded(table: pa.Table | Sequence[Mapping[str, Any]], folder: Path, *, in_order: bool) -> dict[str, Any]:
    """A table as columns and rows; the rows sorted unless their order tells something."""
    if isinstance(table, pa.Table):
        columns = {field.name: str(field.type) for field in table.schema}
        given: Iterable[Mapping[str, Any]] = table.to_pylist()
    else:
        columns = dict.fromkeys((name for row in table for name in row), "value")
        given = table
    columns = {name: kind for name, kind in columns.items() if name not in TIMES}
    rows = [[_cell(row.get(name), str(folder)) for name in columns] for row in given]
    return {"columns": columns, "rows": rows if in_order else sorted(rows, key=_order)}


def _order(row: Sequence[Any]) -> list[tuple[bool, Any]]:
    """Sorts numbers as numbers and nothing first."""
    return [
        (cell is not None, cell if isinstance(cell, int | float | str) else _text(cell)) if cell is not None else (False, 0)
        for cell in row
    ]


def _cell(value: Any, folder: str) -> Any:
    """A value as JSON keeps it."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        return value.replace(folder, FOLDER)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): _cell(value[key], folder) for key in sorted(value, key=str)}
    if isinstance(value, date | datetime):
        return value.isoformat()
    return [_cell(one, folder) for one in value]


def number(value: float) -> float | str:
    """A number to 9 significant digits; what JSON has no word for as text."""
    if not math.isfinite(value):
        return str(value)
    return 0.0 if abs(value) < NOTHING else float(f"{value:.{DIGITS}g}")


def condensed(record: Record) -> Record:
    """What is kept of a record: of each column its type, its digest and a tick a row; and the first row as it is."""
    return {step: {name: _condensed(table) for name, table in tables.items()} for step, tables in record.items()}


def _condensed(table: Mapping[str, Any]) -> dict[str, Any]:
    columns = {}
    for place, (name, kind) in enumerate(table["columns"].items()):
        cells = [_text(row[place]) for row in table["rows"]]
        same = len(set(cells)) == 1
        ticks = "" if not cells else f"= {cells[0]}" if same and len(cells[0]) <= SHORT else "".join(map(_tick, cells))
        columns[name] = " | ".join([kind, _digest(cells), ticks])
    first = {}
    for name, cell in zip(table["columns"], (table["rows"] or [[]])[0], strict=False):
        text = _text(cell)
        if len(text) <= SHORT and not columns[name].endswith(f"= {text}"):
            first[name] = cell
    return {"rows": len(table["rows"]), "columns": columns, "first": first}


def _text(cell: Any) -> str:
    return json.dumps(cell, ensure_ascii=False, sort_keys=True)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=12).digest()


def _tick(text: str) -> str:
    return base64.urlsafe_b64encode(_hash(text)).decode()[:TICKS]


def _digest(cells: Sequence[str]) -> str:
    return _hash("\n".join(cells)).hex()[:16]


def differences(golden: Record, record: Record) -> list[str]:
    """A line for everything in which a record is not as the golden one, in the order of the record."""
    return list(_differences(golden, record))


def _differences(golden: Record, record: Record) -> Iterator[str]:
    for step in [*record, *(name for name in golden if name not in record)]:
        if step not in golden or step not in record:
            yield f"{step}: {'a new step' if step not in golden else 'this step is gone'}"
            continue
        old, new = golden[step], record[step]
        for name in [*new, *(name for name in old if name not in new)]:
            if name not in old or name not in new:
                yield f"{step}: table {name}: {'new' if name not in old else 'gone'}"
            else:
                yield from (f"{step}: table {name}: {line}" for line in _of_table(old[name], new[name]))


def _of_table(old: Mapping[str, Any], table: Mapping[str, Any]) -> Iterator[str]:
    new = _condensed(table)
    names = [*new["columns"], *(name for name in old["columns"] if name not in new["columns"])]
    counts = (old["rows"], new["rows"])
    if counts[0] != counts[1]:
        places = [
            _place(old["columns"][name], new["columns"][name], counts)
            for name in names
            if name in old["columns"] and name in new["columns"]
        ]
        row = min(places, default=0)
        yield f"{counts[1]} rows, there were {counts[0]}; first differing row {row}: {_shown(table, row)}"
    for name in names:
        if name not in old["columns"] or name not in new["columns"]:
            yield f"column {name}: {'new' if name not in old['columns'] else 'gone'}"
            continue
        was, now = old["columns"][name], new["columns"][name]
        if (kinds := (was.split(" | ")[0], now.split(" | ")[0]))[0] != kinds[1]:
            yield f"column {name}: type {kinds[1]}, it was {kinds[0]}"
        elif was != now and counts[0] == counts[1]:
            row = _place(was, now, counts)
            cell = _text(table["rows"][row][list(table["columns"]).index(name)]) if row < counts[1] else "?"
            yield f"column {name}: first differing row {row}: {_cut(cell)}{_before(old, name, row)}; {_shown(table, row)}"


def _place(was: str, now: str, counts: tuple[int, int]) -> int:
    """The first row whose ticks differ; the number of common rows where none does."""
    ours, theirs = _ticks(was, counts[0]), _ticks(now, counts[1])
    common = min(counts)
    return next((row for row in range(common) if ours[row] != theirs[row]), common)


def _ticks(column: str, rows: int) -> list[str]:
    ticks = column.split(" | ", 2)[2]
    if ticks.startswith("= "):
        return [_tick(ticks.removeprefix("= "))] * rows
    return [ticks[at : at + TICKS] for at in range(0, len(ticks), TICKS)]


def _before(old: Mapping[str, Any], name: str, row: int) -> str:
    """The value that was there, where the golden file still tells."""
    same = old["columns"][name].split(" | ", 2)[2]
    if same.startswith("= "):
        return f", it was {same.removeprefix('= ')}"
    return f", it was {_text(old['first'][name])}" if row == 0 and name in old["first"] else ""


def _shown(table: Mapping[str, Any], row: int) -> str:
    """The row by its ids and places."""
    if row >= len(table["rows"]):
        return "(beyond the last)"
    named = [
        f"{name}={_cut(_text(cell), 30)}"
        for name, cell in zip(table["columns"], table["rows"][row], strict=True)
        if name.endswith(("_id", "_index", "_kind")) or name in ("agent", "player", "kept", "localizer", "path", "run")
    ]
    return "row " + " ".join(named or [_cut(_text(table["rows"][row]))])


def _cut(text: str, longest: int = 100) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."
