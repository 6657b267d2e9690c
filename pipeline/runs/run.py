"""Run: one run of a store, opened once. It says what there is by kind, reads it, and takes what a stage writes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import pyarrow as pa

from apportion import schemas
from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.frames import rows
from apportion.pipeline.runs.shards import footer_of
from apportion.pipeline.runs.store import Store
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.trajectory.task import Reject, Task

Write = Callable[..., None]
"""`write(table, rows or Arrow table, **partition)`."""


class Kind(StrEnum):
    """Whose the trajectories of a shard are. It stands in the shard's footer."""

    SAMPLED = "sampled"
    """The team's own rollouts."""
    SOLO = "solo"
    """Rollouts of the same model alone, for comparison: neither credited nor blamed."""
    IMPORTED = "imported"
    """Logs of other systems."""
    COUNTERFACTUAL = "counterfactual"
    """Replays, continuations, planted faults: made by annotating, and nobody's to annotate again."""


SPOKEN = (Kind.SAMPLED, Kind.IMPORTED)
"""What is credited and blamed."""


@dataclass(frozen=True)
class Source:
    """A committed shard of trajectories."""

    name: str
    kind: Kind
    fingerprint: str | None
    """None where its footer cannot be read."""


@dataclass(frozen=True)
class Run:
    """The run `id` of the store that `config` names."""

    config: Config
    id: str

    @cached_property
    def store(self) -> Store:
        return Store(self.config.store_root)

    @property
    def manifest(self) -> dict[str, Any]:
        """What the run was begun with; empty where it has no manifest."""
        return self.store.manifest(self.id) or {}

    def sources(self, *kinds: Kind) -> list[Source]:
        """The committed shards of trajectories of these kinds (all without any), by name.

        Raises UserError where the run has no trajectories at all.
        """
        found = [_source(path.stem.removeprefix("part-"), footer_of(path)) for path in self._trajectories()]
        return [source for source in found if not kinds or source.kind in kinds]

    def _trajectories(self) -> list[Any]:
        paths = self.store.shards("trajectories", self.id)
        if not paths:
            known = ", ".join(info.run_id for info in self.store.runs()) or "none yet"
            raise UserError(f"run {self.id!r} has no trajectories; runs here: {known}")
        return paths

    def read(self, table: str, shard: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of a table, of all shards or of one; see `Store.read`."""
        return self.store.read(table, self.id, shard, columns)

    def tasks(self) -> dict[str, Task]:
        """The run's tasks by id."""
        return {row["task_id"]: _task(row) for row in rows(self.read("tasks"))}

    def logs(self, shard: str) -> Iterator[Log]:
        """Every trajectory of a shard with its messages in order."""
        tasks = self.tasks()
        messages: dict[str, list[dict[str, Any]]] = defaultdict(list)
        table = self.read("messages", shard).drop_columns("run_id")
        for row in rows(table.sort_by([("trajectory_id", "ascending"), ("message_index", "ascending")])):
            messages[row["trajectory_id"]].append(row)
        for row in rows(self.read("trajectories", shard)):
            yield Log(row, messages[row["trajectory_id"]], tasks[row["task_id"]])

    def stands(self, shard: str, fingerprint: str, tables: Sequence[str]) -> bool:
        """Whether every table of a shard is there, whole and with this fingerprint."""
        return self.store.shard_stands(self.id, shard, fingerprint, tables)

    def writer(self, shard: str, fingerprint: str, kind: Kind = Kind.COUNTERFACTUAL) -> Write:
        """Commits tables of a shard, one call each. `kind`: of the trajectories among them."""

        def write(table: str, data: pa.Table | Sequence[Mapping[str, Any]], **partition: str) -> None:
            made = data if isinstance(data, pa.Table) else schemas.TABLES[table].from_rows(data)
            notes = {"kind": str(kind)} if table == "trajectories" else {}
            self.store.write_shard(table, self.id, shard, made, fingerprint, notes, **partition)

        return write

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run for writing; UserError where another process does."""
        return self.store.lock(self.id)

    def refuse_held(self) -> None:
        """UserError where another process works on the run."""
        self.store.refuse_held(self.id)

    def claimed(self, spec: str) -> bool:
        """Whether the run's name is bound already, to this; UserError where it is bound to something else."""
        old = self.store.manifest(self.id)
        if old and old.get("spec") != spec:
            raise UserError(
                f"run {self.id!r} exists and was made from another configuration, tasks or logs; give this one a name "
                f"of its own (--set run.name=NAME), remove the old one (apportion runs remove {self.id}), or repeat it "
                "as it was"
            )
        return old is not None

    def claim(self, manifest: Mapping[str, Any]) -> None:
        """Bind the run's name to what it is made of; refuse a name that is bound to something else."""
        if not self.claimed(str(manifest["spec"])):
            self.store.write_manifest(self.id, manifest)


def reject_row(reject: Reject, stage: str) -> dict[str, Any]:
    """A row of `rejects`."""
    return {
        "stage": stage, "file": reject.source, "line": reject.line, "reason": reject.reason, "raw": reject.text,
    }  # fmt: skip


def _source(name: str, footer: Mapping[str, str]) -> Source:
    told = footer.get("apportion.kind")
    return Source(name, Kind(told) if told else _kind_by_name(name), footer.get("apportion.fingerprint"))


def _kind_by_name(name: str) -> Kind:
    """Of a shard that was written before its kind was kept."""
    first = name.partition("-")[0]
    return Kind(first) if first in ("sampled", "solo", "imported") else Kind.COUNTERFACTUAL


def _task(row: Mapping[str, Any]) -> Task:
    meta = json.loads(row["meta"]) if row["meta"] else {}
    return Task(row["task_id"], row["source"], row["split"] or "", row["question"], tuple(row["references"]), meta)
