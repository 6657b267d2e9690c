"""Tables as a record that can be kept, and what differs between two: table, column and first differing row.

Numbers are compared after rounding to 9 significant digits, and are nothing below 1e-12, where rounding errors live.
Left out are times, and the folder of the run is cut out of every text.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import groupby
from pathlib import Path
from string import ascii_letters
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
_RUN = re.compile(r"([A-Za-z]{2})(\d*)")

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
    places = {name: pa.repeat(value, len(table)) for name, value in _partition(path, store).items()}
    return pa.table(places | {name: table[name] for name in table.column_names})


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
    """Sorts numbers as numbers, and nothing first."""
    simple = (cell if cell is None or isinstance(cell, int | float | str) else _text(cell) for cell in row)
    return [(cell is not None, 0 if cell is None else cell) for cell in simple]


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
    """A column is told as `type = value` where all rows are alike and short, else as `type | digest | ticks`.

    A tick is two letters that a row's value is told apart by, a number after it how many rows in turn have it.
    """
    if not table["rows"]:
        return {"rows": 0}
    columns, first = {}, {}
    for place, (name, kind) in enumerate(table["columns"].items()):
        cells = [_text(row[place]) for row in table["rows"]]
        short = len(cells[0]) <= SHORT
        if short and len(set(cells)) == 1:
            columns[name] = f"{kind} = {cells[0]}"
            continue
        columns[name] = f"{kind} | {_digest(cells)} | {_runs(map(_tick, cells))}"
        if short:
            first[name] = table["rows"][0][place]
    return {"rows": len(table["rows"]), "columns": columns} | ({"first": first} if first else {})


def _text(cell: Any) -> str:
    return json.dumps(cell, ensure_ascii=False, sort_keys=True)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=12).digest()


def _tick(text: str) -> str:
    first, second = divmod(int.from_bytes(_hash(text)[:4]) % len(ascii_letters) ** 2, len(ascii_letters))
    return ascii_letters[first] + ascii_letters[second]


def _runs(ticks: Iterable[str]) -> str:
    counted = [(tick, sum(1 for _ in same)) for tick, same in groupby(ticks)]
    return "".join(tick + (str(count) if count > 1 else "") for tick, count in counted)


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
    counts = (old["rows"], new["rows"])
    before, now = old.get("columns", {}), new.get("columns", {})
    common = [name for name in now if name in before]
    if counts[0] != counts[1]:
        row = min((_place(before[name], now[name], counts) for name in common), default=0)
        yield f"{counts[1]} rows, there were {counts[0]}; first differing row {row}: {_shown(table, row)}"
    if not all(counts):
        return
    yield from (f"column {name}: new" for name in now if name not in before)
    yield from (f"column {name}: gone" for name in before if name not in now)
    for name in common:
        kinds = _kind(before[name]), _kind(now[name])
        if kinds[0] != kinds[1]:
            yield f"column {name}: type {kinds[1]}, it was {kinds[0]}"
        elif before[name] != now[name] and counts[0] == counts[1]:
            row = _place(before[name], now[name], counts)
            cell = _text(table["rows"][row][list(table["columns"]).index(name)]) if row < counts[1] else "?"
            was = f", it was {told}" if (told := _before(old, name, row)) else ""
            yield f"column {name}: first differing row {row}: {_cut(cell)}{was}; {_shown(table, row)}"


def _kind(column: str) -> str:
    return column.split(" | ")[0].split(" = ")[0]


def _place(was: str, now: str, counts: tuple[int, int]) -> int:
    """The first row whose ticks differ; the number of common rows where none does."""
    ours, theirs = _ticks(was, counts[0]), _ticks(now, counts[1])
    common = min(counts)
    return next((row for row in range(common) if ours[row] != theirs[row]), common)


def _ticks(column: str, rows: int) -> list[str]:
    if " = " in column and " | " not in column.split(" = ")[0]:
        return [_tick(column.split(" = ", 1)[1])] * rows
    runs = _RUN.findall(column.rsplit(" | ", 1)[1])
    return [tick for tick, count in runs for _ in range(int(count or 1))]


def _before(old: Mapping[str, Any], name: str, row: int) -> str:
    """The value that was there, where the golden file still tells."""
    if " | " not in (column := old["columns"][name]).split(" = ")[0]:
        return column.split(" = ", 1)[1]
    return _text(old["first"][name]) if row == 0 and name in old.get("first", {}) else ""


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
