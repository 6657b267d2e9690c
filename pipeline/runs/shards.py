"""The files of a run store: committed by one rename, read with their checksums verified, locked by the kernel."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from apportion.pipeline.core.errors import UserError, WorkError
from apportion.schemas import SchemaError, Table

UNREADABLE = (OSError, pa.ArrowException, ValueError)


def flock(file: TextIO, run_id: str, kind: int) -> None:
    """Lock a run's file without waiting; UserError where another process holds it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        raise UserError(f"run {run_id}: process {holder} works on it: wait for it, or choose another run id") from error


def stated_time(created: object) -> datetime | None:
    """The time that a manifest states; None where it states none that can be read."""
    try:
        found = datetime.fromisoformat(str(created))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def footer_of(path: Path) -> dict[str, str]:
    """The footer's own entries; empty where the footer cannot be read."""
    try:
        entries = pq.read_metadata(path).metadata or {}
    except UNREADABLE:
        return {}
    pairs = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in entries.items()}
    return {key: value for key, value in pairs.items() if key.startswith("apportion.")}


def partition_of(path: Path, spec: Table) -> dict[str, str]:
    """A shard's partition: the folders just above it. Those above the store may be called name=value too."""
    folders = path.parts[-1 - len(spec.partition) : -1]
    return dict(folder.split("=", 1) for folder in folders)


def load(path: Path, spec: Table) -> tuple[pa.Table, int]:
    """A shard's columns of `spec`, conformed, with page checksums verified; and its row count."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            present = [name for name in file.schema_arrow.names if name in spec.schema.names]
            data = file.read(columns=present)
            rows = file.metadata.num_rows
    except UNREADABLE as error:
        reason = str(error).splitlines()[0]
        raise WorkError(
            f"{path}: damaged ({reason}): run the command that wrote it again to redo this shard"
        ) from error
    if not spec.schema.names:
        return data, rows
    try:
        return spec.conform(data), rows
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from error


def with_partition(data: pa.Table, rows: int, path: Path, spec: Table) -> pa.Table:
    """Add the partition columns, read off the folder names."""
    values = partition_of(path, spec)
    columns = {name: pa.repeat(pa.scalar(values[name], pa.large_string()), rows) for name in spec.partition}
    return pa.table(columns | {name: data.column(name) for name in data.column_names})


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
