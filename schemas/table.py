"""What a table is: its columns with units and meaning, its key, and what must hold of every row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from apportion.pipeline.core.errors import WorkError

TEXT = pa.large_string()
TEXTS = pa.large_list(pa.large_string())
INTS = pa.large_list(pa.int32())
FLOATS = pa.large_list(pa.float32())
BOOLS = pa.large_list(pa.bool_())
CHAT = pa.large_list(pa.struct([("role", pa.large_string()), ("content", pa.large_string())]))

_SQL_TYPES = {
    pa.large_string(): "VARCHAR",
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
}


class SchemaError(WorkError):
    """Data does not fit its declared table: one line that names table, column and cure."""


def column(
    name: str, kind: pa.DataType, meaning: str, *, unit: str = "", null: bool = False, twin: str = ""
) -> pa.Field:
    """A declared column. `unit` is empty for plain text, ids and flags; `null` allows missing values.

    `twin` is what the views call it as well, where SQL reserves its name.
    """
    notes = {"meaning": meaning, "unit": unit} | ({"twin": twin} if twin else {})
    return pa.field(name, kind, nullable=null, metadata=notes)


def one_of(name: str, *values: str) -> tuple[str, str]:
    """The invariant that a text column holds one of a closed set."""
    known = ", ".join(f"'{value}'" for value in values)
    return f"{name}_known", f"{name} IN ({known})"


def sql_type(kind: pa.DataType) -> str:
    """The DuckDB type that an Arrow type is read as."""
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        inner = ", ".join(f'"{field.name}" {sql_type(field.type)}' for field in kind)
        return f"STRUCT({inner})"
    return _SQL_TYPES[kind]


@dataclass(frozen=True)
class Violation:
    """Rows of one table that break one invariant."""

    table: str
    invariant: str
    rows: int
    example: str

    def __str__(self) -> str:
        return f"{self.table}: {self.invariant} broken by {self.rows} rows, for example {self.example}"


@dataclass(frozen=True)
class Table:
    """One declared table.

    `key` identifies a row within its partition; `partition` columns are directory names, not stored in the
    file; an invariant is (name, SQL predicate over one row), and holds where the predicate is NULL.
    """

    name: str
    doc: str
    row: str
    schema: pa.Schema
    key: tuple[str, ...]
    sort_by: tuple[str, ...]
    partition: tuple[str, ...] = ("run_id",)
    invariants: tuple[tuple[str, str], ...] = ()

    @property
    def twins(self) -> dict[str, str]:
        """Columns whose names SQL reserves, with the names that need no quotes."""
        notes = {field.name: field.metadata or {} for field in self.schema}
        return {name: told[b"twin"].decode() for name, told in notes.items() if b"twin" in told}

    def empty(self) -> pa.Table:
        """The table with its declared columns and no row."""
        return self.schema.empty_table()

    def frame_schema(self, *names: str) -> pl.Schema:
        """The columns `names` (all without any) as a Polars schema."""
        every = pl.DataFrame(self.empty()).schema
        return pl.Schema({name: every[name] for name in names or every})

    def from_rows(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """Build the table from one mapping a row; an absent nullable column is null.

        Raises SchemaError on a key that is not declared, a missing or null value that must be there, or a
        value of the wrong type.
        """
        known = set(self.schema.names)
        for index, row in enumerate(rows):
            if unknown := row.keys() - known:
                raise self._unknown(sorted(unknown), f" in row {index}")
        arrays = []
        for field in self.schema:
            values = [row.get(field.name) for row in rows]
            missing = [index for index, value in enumerate(values) if value is None]
            if missing and not field.nullable:
                raise SchemaError(
                    f"table {self.name}: column {field.name} has {len(missing)} missing values (first in row "
                    f"{missing[0]}): give every row a value"
                )
            try:
                arrays.append(pa.array(values, type=field.type))
            except (pa.ArrowException, TypeError, OverflowError) as error:
                raise self._wrong_type(field, error) from error
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def conform(self, data: pa.Table) -> pa.Table:
        """Cast `data` to the declared schema, in the declared column order.

        Raises SchemaError on unknown, doubled or missing columns, on nulls where none are allowed, and on
        values that do not fit the declared type. Missing nullable columns become null.
        """
        names = data.column_names
        if unknown := [name for name in names if name not in self.schema.names]:
            raise self._unknown(unknown)
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise SchemaError(f"table {self.name}: column {doubled[0]} appears twice: drop one of them")
        return pa.Table.from_arrays([self._cast(field, data) for field in self.schema], schema=self.schema)

    def _cast(self, field: pa.Field, data: pa.Table) -> pa.ChunkedArray:
        if field.name not in data.column_names:
            if not field.nullable:
                raise SchemaError(f"table {self.name}: column {field.name} is missing: add it")
            return pa.chunked_array([pa.nulls(data.num_rows, field.type)], type=field.type)
        values = data.column(field.name)
        if not field.nullable and values.null_count:
            raise SchemaError(f"table {self.name}: column {field.name} has {values.null_count} nulls: fill them")
        try:
            return values.cast(field.type)
        except (pa.ArrowException, TypeError) as error:
            raise self._wrong_type(field, error) from error

    def _wrong_type(self, field: pa.Field, error: Exception) -> SchemaError:
        reason = str(error).splitlines()[0]
        return SchemaError(
            f"table {self.name}: column {field.name} must hold {sql_type(field.type)} ({reason}): convert it"
        )

    def _unknown(self, names: Sequence[str], where: str = "") -> SchemaError:
        if partition := [name for name in names if name in self.partition]:
            return SchemaError(f"table {self.name}: column {partition[0]}{where} is a partition: pass it to the store")
        return SchemaError(f"table {self.name}: column {names[0]}{where} is not declared: drop or declare it")

    def violations(self, con: duckdb.DuckDBPyConnection, relation: str) -> list[Violation]:
        """Check every invariant and the uniqueness of the key on `relation`, an SQL table expression.

        The partition columns that the relation has count as part of the key.
        """
        present = {row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
        keys = [name for name in (*self.partition, *self.key) if name in present]
        return [*self._broken(con, relation, keys), *self._doubled(con, relation, keys)]

    def _broken(self, con: duckdb.DuckDBPyConnection, relation: str, keys: list[str]) -> Iterator[Violation]:
        if not self.invariants:
            return
        label = _label(keys)
        parts = [
            f"count(*) FILTER (WHERE NOT ({predicate})), min({label}) FILTER (WHERE NOT ({predicate}))"
            for _, predicate in self.invariants
        ]
        found = con.execute(f"SELECT {', '.join(parts)} FROM {relation}").fetchone() or ()
        for (name, _), rows, example in zip(self.invariants, found[::2], found[1::2], strict=True):
            if rows:
                yield Violation(self.name, name, rows, example)

    def _doubled(self, con: duckdb.DuckDBPyConnection, relation: str, keys: list[str]) -> Iterator[Violation]:
        columns = ", ".join(f'"{name}"' for name in keys)
        found = con.execute(
            f"SELECT count(*), min(label) FROM (SELECT {_label(keys)} AS label FROM {relation} "
            f"GROUP BY {columns} HAVING count(*) > 1)"
        ).fetchone()
        if found and found[0]:
            yield Violation(self.name, f"unique_key({', '.join(self.key)})", found[0], found[1])


def _label(keys: Sequence[str]) -> str:
    """SQL that names a row by its key, as `a=1 b=x`."""
    return "concat_ws(' ', " + ", ".join(f"'{name}=' || \"{name}\"" for name in keys) + ")"
