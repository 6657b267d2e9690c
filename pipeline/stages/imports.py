"""Stage: logs of other people's agents -> the same tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.ids import digest
from apportion.pipeline.importers.base import Imported, Importer
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.common import ALGORITHM_VERSION
from apportion.pipeline.stages.sample import claim, reject_row, writer

SHARD = 512
"""Trajectories in a shard."""


@dataclass(frozen=True)
class ImportPlan:
    """Logs that were read, and the run that they become."""

    config: Config
    format: str
    path: str
    run: str
    spec: str
    """Digest of what the logs say, wherever they lie."""
    read: Imported


def plan(config: Config, name: str, path: Path) -> ImportPlan:
    """Read the logs. The run is named after the format and the content, unless the user names it."""
    importer: Importer = config.importer.make(name)
    read = importer.read(path)
    rejects = [[reject.line, reject.reason, reject.text] for reject in read.rejects]
    spec = digest([importer.name, read.trajectories, read.messages, rejects])
    return ImportPlan(config, name, str(path), config.run.name or f"{importer.name}-{spec[:8]}", spec, read)


def run(plan: ImportPlan) -> str:
    """Write the run: tasks, messages and trajectories, shard by shard. Returns the run's id."""
    store = Store(plan.config.store_root)
    with store.lock(plan.run):
        _write(store, plan)
    return plan.run


def _write(store: Store, plan: ImportPlan) -> None:
    read = plan.read
    config = plan.config.to_store()
    config["run"]["name"] = plan.run
    manifest = {"kind": "import", "format": plan.format, "path": plan.path, "spec": plan.spec, "config": config}
    claim(store, plan.run, manifest)
    store.sweep(plan.run)
    tasks = {row["task_id"]: row for row in read.tasks}
    write = writer(store, plan.run, "00000", plan.spec)
    write("tasks", list(tasks.values()))
    write("rejects", [reject_row(reject, "import") for reject in read.rejects])
    messages: dict[str, list[dict[str, Any]]] = {}
    for row in read.messages:
        messages.setdefault(row["trajectory_id"], []).append(row)
    for number, start in enumerate(range(0, len(read.trajectories), SHARD)):
        part = read.trajectories[start : start + SHARD]
        shard = f"imported-{number:05d}"
        rows = [row for one in part for row in messages[one["trajectory_id"]]]
        fingerprint = digest([ALGORITHM_VERSION, part, rows])
        if store.shard_stands(plan.run, shard, fingerprint, ("messages", "trajectories")):
            continue
        write = writer(store, plan.run, shard, fingerprint)
        write("messages", rows)
        write("trajectories", part)
