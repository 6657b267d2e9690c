"""Read-only SQL over a run store, locked to the store's own files."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from apportion.pipeline.core.errors import UserError
from apportion.schemas import TABLES
from apportion.schemas.render import literal, views

Format = Literal["table", "json", "csv"]

_CELL = 60
_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(ANALYZE\s+)?(\([^()]*\)\s*)?", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")
_ALLOWED = "only one SELECT, WITH, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN statement is allowed"


def connect(root: Path, run_id: str = "*") -> duckdb.DuckDBPyConnection:
    """An in-memory connection with a view for every table (of all runs or one), that reaches no file outside `root`.

    DuckDB itself would still write inside `root`: only `query` refuses statements that write.
    """
    con = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # Without this, SQL could name the variables of the calling Python code.
            "python_enable_replacements": False,
            "arrow_large_buffer_size": True,
        },
    )
    try:
        for statement in views(root, run_id):
            con.execute(statement)
        # The folders must be named while access is on; the lock comes last, or nothing could be set.
        # DuckDB checks the views' escaped globs as they are written, and each file by its true name.
        folders = {str(root.absolute()), literal(root)}
        quoted = ", ".join("'" + folder.replace("'", "''") + "'" for folder in sorted(folders))
        con.execute(f"SET allowed_directories=[{quoted}]")
        con.execute("SET enable_external_access=false")
        con.execute("SET lock_configuration=true")
    except duckdb.Error as error:
        con.close()
        raise UserError(f"{_one_line(error)}: find the damaged file with `apportion runs verify`") from error
    return con


def query(root: Path, sql: str, run_id: str = "*") -> pa.Table:
    """The result of one reading statement over the store at `root`, or over one run in it.

    Whole-number sums come back as int64 where they fit. UserError, in one line, on any other statement and
    on whatever DuckDB refuses.
    """
    with connect(root, run_id) as con:
        _refuse_writes(con, sql)
        try:
            result = con.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise UserError(f"sql: {_one_line(error)}") from error
    return _plain_integers(result)


def _refuse_writes(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """UserError unless `sql` is a single statement that only reads."""
    statement = _single(con, sql)
    if statement.type == duckdb.StatementType.EXPLAIN:
        # EXPLAIN ANALYZE runs what it explains.
        match = _EXPLAIN.match(_strip_comments(sql))
        if not match:
            raise UserError(f"sql: {_ALLOWED}: begin with EXPLAIN")
        sql = _strip_comments(sql)[match.end() :]
        statement = _single(con, sql)
    if statement.type != duckdb.StatementType.SELECT:
        raise UserError(f"sql: {_ALLOWED}, not {statement.type.name}")
    # A WITH clause may hold COPY and INSERT, but only at the top level: DuckDB refuses those inside a
    # subquery. Binding the statement as one therefore proves that it only reads.
    try:
        con.execute(f"EXPLAIN SELECT * FROM (\n{sql.strip().rstrip(';')}\n)")
    except duckdb.Error as error:
        reason = _one_line(error)
        if "must be at the top level" in reason:
            reason = f"{_ALLOWED}, not one that writes"
        raise UserError(f"sql: {reason}") from error


def _single(con: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    try:
        statements = con.extract_statements(sql)
    except duckdb.Error as error:
        raise UserError(f"sql: {_one_line(error)}{_reserved(sql)}") from error
    if len(statements) != 1:
        raise UserError(f"sql: {_ALLOWED}, not {len(statements)}")
    return statements[0]


def _reserved(sql: str) -> str:
    """The cure where columns that SQL reserves the names of stand without quotes in `sql`; else nothing."""
    twins = {name: twin for table in TABLES.values() for name, twin in table.twins.items()}
    text = sql.encode()
    words = [
        match[0].decode().lower()
        for at, kind in duckdb.tokenize(sql)
        if kind == duckdb.token_type.keyword and (match := re.match(rb"\w+", text[at:]))
    ]
    found = [name for name in dict.fromkeys(words) if name in twins]
    return "".join(f'; SQL reserves the word {name}: write {twins[name]}, or "{name}" in quotes' for name in found)


def _strip_comments(sql: str) -> str:
    """`sql` without the comments before its first word."""
    return re.sub(r"\A(\s*(--[^\n]*(\n|\Z)|/\*.*?\*/))*\s*", "", sql, flags=re.DOTALL)


def _one_line(error: duckdb.Error) -> str:
    """DuckDB's message with its suggestion, without the drawing of the place."""
    lines = [line.strip() for line in str(error).split("\nLINE ")[0].splitlines() if line.strip()]
    lines[0] = re.sub(r"^[A-Z][\w -]* Error: ", "", lines[0])
    return _CONTROL.sub(" ", " ".join(line for line in lines if '"pg_' not in line))


def _plain_integers(data: pa.Table) -> pa.Table:
    for index, field in enumerate(data.schema):
        if pa.types.is_decimal(field.type) and field.type.scale == 0:
            try:
                data = data.set_column(index, field.name, data.column(index).cast(pa.int64()))
            except pa.ArrowInvalid:
                continue  # beyond int64: stays an exact decimal
    return data


def render(table: pa.Table, format: Format) -> str:
    """A result as text: `table` for people, `json` a list of objects (NaN is null), `csv` with a header."""
    if format == "json":
        rows = [{name: _json(value) for name, value in zip(_names(table), row, strict=True)} for row in _rows(table)]
        return json.dumps(rows, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    if format == "csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows([_csv(value) for value in row] for row in _rows(table))
        return out.getvalue()
    return _human(table)


def _human(table: pa.Table) -> str:
    """A table for people: cut to the terminal's width, or whole where the output goes to a file or another program."""
    return _fitted(table) if sys.stdout.isatty() else _whole(table)


def _fitted(table: pa.Table) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=SIMPLE_HEAD, pad_edge=False)
    for field in table.schema:
        right = _is_number(field.type)
        grid.add_column(Text(_cut(_cell(field.name))), justify="right" if right else "left", no_wrap=True)
    for row in _rows(table):
        grid.add_row(*(Text(_cut(_cell(value))) for value in row))
    out = io.StringIO()
    Console(file=out, width=shutil.get_terminal_size().columns, color_system=None).print(grid)
    # The box draws an empty line above and below.
    lines = out.getvalue().removesuffix("\n").split("\n")[1:-1]
    return "".join(line.rstrip() + "\n" for line in lines)


def _whole(table: pa.Table) -> str:
    """The same look with every cell in full. Columns line up as far as cells of ordinary length go; a longer one moves
    the rest of its own line, instead of filling all the others with blanks.
    """
    from rich.cells import cell_len

    if not table.num_columns:
        return ""
    rows = [[_cell(name) for name in table.column_names], *([_cell(value) for value in row] for row in _rows(table))]
    columns = list(zip(*rows, strict=True))
    widths = [max([w for text in column if (w := cell_len(text)) <= _CELL], default=0) for column in columns]
    right = [_is_number(field.type) for field in table.schema]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for text, width, number in zip(cells, widths, right, strict=True):
            blanks = " " * max(0, width - cell_len(text))
            padded.append(blanks + text if number else text + blanks)
        return f" {'   '.join(padded)}".rstrip() + "\n"

    rule = f" {'─' * (sum(widths) + 3 * (len(widths) - 1))}\n"
    return line(rows[0]) + rule + "".join(map(line, rows[1:]))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float | Decimal):
        return f"{value:.4g}"
    text = value if isinstance(value, str) else str(_json(value))
    # Model output is untrusted: control characters could drive the terminal.
    return _CONTROL.sub(" ", text)


def _cut(text: str) -> str:
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _names(table: pa.Table) -> list[str]:
    """Column names, made unique: an object of JSON holds each only once."""
    names: list[str] = []
    for name in table.column_names:
        number = 1
        unique = name
        while unique in names:
            number += 1
            unique = f"{name}_{number}"
        names.append(unique)
    return names


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    if not table.num_columns:
        return []
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _csv(value: Any) -> Any:
    return json.dumps(_json(value), ensure_ascii=False) if isinstance(value, list | dict | tuple) else value
