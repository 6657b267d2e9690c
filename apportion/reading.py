"""Runs of a store, read in Python: their tables as Polars frames, and SQL over them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.runs import sql
from apportion.pipeline.runs.store import RunInfo, Store
from apportion.schemas import TABLES
from apportion.schemas.render import VIEWS

if TYPE_CHECKING:
    import duckdb
    import polars as pl
    import pyarrow as pa

_DATA = "data"
"""Default of `run.data`: the folder, below the working directory, that every verb writes to."""


@dataclass(frozen=True)
class StoredRun:
    """One run below a data folder. A table is read when it is asked for, and its checksums are verified then."""

    run_id: str
    data: Path

    @property
    def tables(self) -> dict[str, int]:
        """The tables that the run has, with their numbers of rows."""
        return {name: table.rows for name, table in Store(_root(self.data)).run(self.run_id).tables.items()}

    def table(self, name: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A table or view of the run; without rows where no verb has filled it. `columns` reads only these.

        Raises UserError for a name that is none (with the nearest), WorkError where a shard is damaged.
        """
        views = [view.name for view in VIEWS]
        if name in TABLES:
            return _frame(Store(_root(self.data)).read(name, self.run_id, columns=columns))
        if name in views:
            chosen = ", ".join(f'"{column}"' for column in columns or ()) or "*"
            return self.query(f"SELECT {chosen} FROM {name}")
        near = difflib.get_close_matches(name, [*TABLES, *views], 1, 0.5)
        cure = f"did you mean {near[0]!r}?" if near else f"there are {', '.join([*TABLES, *views])}"
        raise UserError(f"table {name!r}: no such table or view; {cure}")

    def query(self, text: str) -> pl.DataFrame:
        """The result of one SELECT, whose tables and views hold this run alone. Raises UserError with DuckDB's reason.

        `run.query("FROM credits")` reads a table, `run.query("FROM agent_credit")` a view.
        """
        return _frame(sql.query(_root(self.data), text, self.run_id))

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection in which every table and view holds this run alone.

        It reaches no file outside the store; unlike `query` it does not refuse statements that write.
        """
        return sql.connect(_root(self.data), self.run_id)


def open(run: str | None = None, data: str | Path = _DATA) -> StoredRun:
    """The run of this id below the folder `data`; without an id the newest that is not held out.

    Raises UserError where there is none.
    """
    store = Store(_root(data))
    if run is None:
        candidates = by_age(store)
        if not candidates:
            raise UserError(f"no runs in {store.root}; sample one (apportion sample) or import logs")
        run = candidates[-1].run_id
    return StoredRun(store.run(run).run_id, Path(data))


def runs(data: str | Path = _DATA) -> pl.DataFrame:
    """Every run below the folder `data`: id, time of creation, kind, numbers of trajectories and credits, bytes."""
    import polars as pl

    kinds = {"run": pl.String, "created": pl.String, "kind": pl.String}
    numbers = dict.fromkeys(("trajectories", "credits", "bytes"), pl.Int64)
    return pl.DataFrame([summary(info) for info in Store(_root(data)).runs()], schema={**kinds, **numbers})


def query(text: str, data: str | Path = _DATA) -> pl.DataFrame:
    """The result of one SELECT over the tables and views of all runs below the folder `data`.

    Raises UserError, with DuckDB's reason, for anything else.
    """
    return _frame(sql.query(_root(data), text))


def connect(data: str | Path = _DATA) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with every table and view of all runs below the folder `data`; see `StoredRun.connect`."""
    return sql.connect(_root(data))


class Summary(TypedDict):
    """One run in a list of runs. `created` in ISO format, `bytes` on disk."""

    run: str
    created: str | None
    kind: str | None
    trajectories: int
    credits: int
    bytes: int


def summary(info: RunInfo) -> Summary:
    """A run as lists of runs show it."""
    rows = {name: table.rows for name, table in info.tables.items()}
    created: datetime | None = info.created
    return {
        "run": info.run_id,
        "created": created.isoformat(timespec="seconds") if created else None,
        "kind": (info.manifest or {}).get("kind"),
        "trajectories": rows.get("trajectories", 0),
        "credits": rows.get("credits", 0),
        "bytes": sum(table.bytes for table in info.tables.values()),
    }


def by_age(store: Store) -> list[RunInfo]:
    """The runs that may be taken where no run is named, the newest last: those on held-out tasks are left out."""
    candidates = [
        info for info in store.runs() if "trajectories" in info.tables and info.created and not _held_out(info)
    ]
    return sorted(candidates, key=lambda info: (info.created, info.run_id))


def _held_out(info: RunInfo) -> bool:
    return bool((info.manifest or {}).get("config", {}).get("run", {}).get("held_out"))


def _root(data: str | Path) -> Path:
    return Path(data) / "runs"


def _frame(table: pa.Table) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(table)
