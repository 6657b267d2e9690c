"""The run store: Parquet shards that one rename commits, with fingerprint and checksums."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, cast

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.core.files import commit
from apportion.pipeline.core.ids import MAX_NAME
from apportion.pipeline.runs.shards import (
    UNREADABLE,
    alive,
    flock,
    footer_of,
    load,
    partition_of,
    stated_time,
    with_partition,
)
from apportion.schemas import RELATIONS, SCHEMA_VERSION, TABLES, SchemaError, Table
from apportion.schemas.render import literal, table_view

_RUN_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp")
_GROUP_ROWS = 128 * 1024
_GROUP_BYTES = 128 * 2**20


@dataclass(frozen=True)
class TableInfo:
    """What a run holds of one table; `bytes` on disk, `damaged` the shards whose footer cannot be read."""

    rows: int
    bytes: int
    shards: int
    damaged: tuple[Path, ...] = ()


@dataclass(frozen=True)
class RunInfo:
    """One run of a store. `created` is the manifest's; where it has none, the time of the oldest shard, which a copy
    of the files changes: `stated` tells the two apart.
    """

    run_id: str
    tables: dict[str, TableInfo]
    created: datetime | None
    manifest: dict[str, Any] | None
    stated: bool = False


@dataclass(frozen=True)
class Problem:
    """Something wrong with a run, as found by `Store.verify`; `path` where one file is at fault."""

    table: str
    check: str
    detail: str
    path: Path | None = None

    def __str__(self) -> str:
        return f"{self.path or self.table}: {self.check}: {self.detail}"


def check_run_id(run_id: str) -> str:
    """`run_id` itself; UserError where it cannot name a run."""
    if len(run_id) > MAX_NAME:
        raise UserError(f"run id {run_id[:20]}… is too long ({len(run_id)} characters, at most {MAX_NAME})")
    if not _RUN_ID.fullmatch(run_id):
        raise UserError(f"run id {run_id!r}: not a letter followed by letters, digits, _ or -: rename the run")
    return run_id


class Store:
    """All runs below one folder: `root/<table>/run_id=<run>[/estimator=<name>]/part-<shard>.parquet`.

    A shard is visible whole or not at all, whenever the process dies. A stage writes the tables of a shard
    one after another; the shard is done when all of them stand with the same fingerprint.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def write_shard(
        self,
        table: str,
        run_id: str,
        shard: str,
        data: pa.Table,
        fingerprint: str,
        notes: Mapping[str, str] = MappingProxyType({}),
        **partition: str,
    ) -> Path:
        """Conform `data`, sort it and commit it with one rename, in place of an earlier shard of that name.

        `notes`: further entries of the footer. `partition` names the partition columns beyond run_id. Raises
        SchemaError where data does not fit.
        """
        spec = _spec(table)
        path = self._path(spec, run_id, shard, partition)
        data = spec.conform(data).sort_by([(name, "ascending") for name in spec.sort_by])
        footer = {
            "apportion.fingerprint": fingerprint,
            "apportion.schema_version": str(SCHEMA_VERSION),
            "apportion.rows": str(data.num_rows),
            **{f"apportion.{key}": value for key, value in notes.items()},
        }
        data = data.replace_schema_metadata(footer)
        row_bytes = max(1, data.nbytes // max(1, data.num_rows))
        group = max(1, min(_GROUP_ROWS, _GROUP_BYTES // row_bytes))

        def write(file: BinaryIO) -> None:
            pq.write_table(
                data,
                file,
                compression="zstd",
                compression_level=3,
                write_page_checksum=True,
                row_group_size=group,
            )

        commit(path, write)
        return path

    def keep_partitions(self, table: str, run_id: str, shard: str, values: Mapping[str, Collection[str]]) -> list[Path]:
        """Remove a shard from every partition whose value of a column is not among `values`; the removed paths."""
        name = f"part-{shard}.parquet"
        stale = []
        for path in self.shards(table, run_id):
            parts = partition_of(path, _spec(table))
            if path.name == name and any(parts[column] not in kept for column, kept in values.items()):
                path.unlink()
                stale.append(path)
        return stale

    def shard_fingerprint(self, table: str, run_id: str, shard: str, **partition: str) -> str | None:
        """The fingerprint a shard was written with; None where it is absent or its footer unreadable."""
        path = self._path(_spec(table), run_id, shard, partition)
        return footer_of(path).get("apportion.fingerprint") if path.exists() else None

    def shard_stands(self, run_id: str, shard: str, fingerprint: str, tables: Sequence[str]) -> bool:
        """Whether every table of a shard is there, whole (page checksums) and with this fingerprint.

        A table is a name, with its further partitions after slashes: `credits/estimator=exact`.
        """
        for entry in tables:
            name, *parts = entry.split("/")
            spec = _spec(name)
            path = self._path(spec, run_id, shard, dict(part.split("=", 1) for part in parts))
            if not path.exists() or footer_of(path).get("apportion.fingerprint") != fingerprint:
                return False
            try:
                load(path, spec)
            except (WorkError, SchemaError):
                return False
        return True

    def shards(self, table: str, run_id: str) -> list[Path]:
        """The committed shards of a run's table over all partitions, sorted by path."""
        spec = _spec(table)
        further = "".join(f"{name}=*/" for name in spec.partition[1:])
        return sorted((self.root / table / f"run_id={check_run_id(run_id)}").glob(f"{further}part-*.parquet"))

    def read(
        self,
        table: str,
        run_id: str | None = None,
        shard: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Rows of one run or all, of one shard or all, with page checksums verified.

        The partition columns come first. Columns that an older shard lacks are null. Raises WorkError naming
        the file where a shard is damaged.
        """
        spec = _spec(table)
        known = pa.schema(
            [pa.field(name, pa.large_string(), nullable=False) for name in spec.partition] + list(spec.schema)
        )
        wanted = known.names if columns is None else list(columns)
        if unknown := [name for name in wanted if name not in known.names]:
            raise SchemaError(f"table {table}: column {unknown[0]} is not declared: choose from {known.names}")
        part = replace(spec, schema=pa.schema([field for field in spec.schema if field.name in wanted]))
        schema = pa.schema([known.field(name) for name in wanted])
        runs = self._run_ids() if run_id is None else [run_id]
        pieces = [schema.empty_table()]
        for path in (path for run in runs for path in self.shards(table, run)):
            if shard is None or path.name == f"part-{shard}.parquet":
                data = with_partition(*load(path, part), path, spec)
                pieces.append(pa.Table.from_arrays([data.column(name) for name in wanted], schema=schema))
        return pa.concat_tables(pieces)

    def sweep(self, run_id: str) -> list[Path]:
        """Remove what writers that no longer live left half-written; the removed paths."""
        found = [
            *self.root.glob(f"[!_]*/run_id={check_run_id(run_id)}/**/.*.tmp"),
            *self.root.glob(f"_manifests/.{run_id}.json.*.tmp"),
        ]
        stale = []
        for path in found:
            match = _TEMPORARY.fullmatch(path.name)
            if match and not alive(int(match[1])):
                path.unlink(missing_ok=True)
                stale.append(path)
        return sorted(stale)

    @contextmanager
    def lock(self, run_id: str) -> Iterator[None]:
        """Hold a run for writing; UserError where another process does. The kernel frees it on any death."""
        path = self.root / "_locks" / f"{check_run_id(run_id)}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as file:
            flock(file, run_id, fcntl.LOCK_EX)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def refuse_held(self, run_id: str) -> None:
        """UserError where another process holds the run; takes no lock and makes no file."""
        path = self.root / "_locks" / f"{check_run_id(run_id)}.lock"
        if path.exists():
            with path.open() as file:
                flock(file, run_id, fcntl.LOCK_SH)

    def manifest(self, run_id: str) -> dict[str, Any] | None:
        """The manifest of a run, None where it has none. WorkError where it is not JSON."""
        path = self.manifest_path(run_id)
        if not path.exists():
            return None
        try:
            return cast(dict[str, Any], json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise WorkError(f"{path}: not JSON ({error}): remove it and run again") from error

    def manifest_path(self, run_id: str) -> Path:
        """Where the manifest of a run is."""
        return self.root / "_manifests" / f"{check_run_id(run_id)}.json"

    def write_manifest(self, run_id: str, manifest: Mapping[str, Any]) -> Path:
        """Commit the manifest of a run with one rename. It keeps the time of its first writing, as `created`."""
        path = self.manifest_path(run_id)
        first = (self.manifest(run_id) or {}).get("created") if path.exists() else datetime.now(UTC).isoformat()
        manifest = {**({"created": first} if first else {}), **manifest}
        text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        commit(path, lambda file: file.write(text.encode()))
        return path

    def runs(self) -> list[RunInfo]:
        """Every run with its tables, by id."""
        return [self.run(run_id) for run_id in self._run_ids()]

    def run(self, run_id: str) -> RunInfo:
        """What the store holds of a run. UserError where it holds nothing."""
        if check_run_id(run_id) not in self._run_ids():
            raise UserError(f"run {run_id}: not in {self.root}: list the runs with `apportion runs list`")
        paths = {name: found for name in TABLES if (found := self.shards(name, run_id))}
        manifest = self.manifest(run_id)
        times = [path.stat().st_mtime for found in paths.values() for path in found]
        created = datetime.fromtimestamp(min(times), UTC) if times else None
        stated = stated_time((manifest or {}).get("created"))
        tables = {name: _info(found) for name, found in paths.items()}
        return RunInfo(run_id, tables, stated or created, manifest, stated is not None)

    def remove(self, run_id: str) -> None:
        """Delete a run: shards, manifest. UserError where another process works on it."""
        self.run(run_id)
        with self.lock(run_id):
            for name in TABLES:
                shutil.rmtree(self.root / name / f"run_id={run_id}", ignore_errors=True)
            (self.root / "_manifests" / f"{run_id}.json").unlink(missing_ok=True)

    def verify(self, run_id: str) -> list[Problem]:
        """What is wrong with a run: damaged files, wrong footers, broken invariants, doubled keys, orphans.

        Checks between tables are left out while a file is damaged: its rows would be reported as missing.
        """
        self.run(run_id)
        problems: list[Problem] = []
        good: dict[str, list[Path]] = {}
        for name, spec in TABLES.items():
            for path in self.shards(name, run_id):
                found = _check_file(path, spec)
                problems += found
                if not found:
                    good.setdefault(name, []).append(path)
        whole = not problems
        with duckdb.connect(":memory:") as con:
            for name, spec in TABLES.items():
                con.execute(table_view(spec, [literal(path) for path in good.get(name, [])]))
                for broken in spec.violations(con, name):
                    detail = f"{broken.rows} rows, for example {broken.example}"
                    problems.append(Problem(name, broken.invariant, detail))
            for relation in RELATIONS if whole else ():
                labels = con.execute(
                    f"SELECT count(*), min(label) FROM ({relation.broken})", {"run_id": run_id}
                ).fetchone()
                if labels and labels[0]:
                    problems.append(
                        Problem(relation.table, relation.name, f"{labels[0]} cases, for example {labels[1]}")
                    )
        return problems

    def _run_ids(self) -> list[str]:
        folders = {path.name.removeprefix("run_id=") for path in self.root.glob("[!_]*/run_id=*")}
        manifests = {path.stem for path in self.root.glob("_manifests/[!.]*.json")}
        return sorted(name for name in folders | manifests if _RUN_ID.fullmatch(name))

    def _path(self, spec: Table, run_id: str, shard: str, partition: Mapping[str, str]) -> Path:
        if set(partition) != set(spec.partition[1:]):
            needed = ", ".join(spec.partition[1:]) or "none"
            raise SchemaError(f"table {spec.name}: partitions beyond run_id are {needed}: pass exactly these")
        for name, value in {"shard": shard, **partition}.items():
            if not _NAME.fullmatch(value):
                raise SchemaError(
                    f"table {spec.name}: {name} {value!r} must be letters, digits, _ . and - only: rename it"
                )
        folder = self.root / spec.name / f"run_id={check_run_id(run_id)}"
        for name in spec.partition[1:]:
            folder /= f"{name}={partition[name]}"
        return folder / f"part-{shard}.parquet"


def _spec(table: str) -> Table:
    if table not in TABLES:
        raise SchemaError(f"table {table}: not declared: choose from {', '.join(TABLES)}")
    return TABLES[table]


def _check_file(path: Path, spec: Table) -> list[Problem]:
    try:
        _, rows = load(path, spec)
    except SchemaError as error:
        return [Problem(spec.name, "schema", str(error), path)]
    except WorkError as error:
        return [Problem(spec.name, "damaged", str(error.__cause__).splitlines()[0], path)]
    footer = footer_of(path)
    expected = {"apportion.rows": str(rows), "apportion.schema_version": str(SCHEMA_VERSION)}
    return [
        Problem(spec.name, "footer", f"{key} is {footer.get(key)}, expected {value}", path)
        for key, value in expected.items()
        if footer.get(key) != value
    ]


def _info(paths: Sequence[Path]) -> TableInfo:
    rows, damaged = 0, []
    for path in paths:
        try:
            rows += pq.read_metadata(path).num_rows
        except UNREADABLE:
            damaged.append(path)
    return TableInfo(rows, sum(path.stat().st_size for path in paths), len(paths), tuple(damaged))
