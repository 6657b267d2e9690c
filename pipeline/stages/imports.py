"""Stage: logs of other people's agents -> the same tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.ids import digest
from apportion.pipeline.importers.base import Imported, Importer
from apportion.pipeline.runs.run import Kind, Run, reject_row
from apportion.pipeline.stages.common import ALGORITHM_VERSION
from apportion.pipeline.stages.stage import Stage

SHARD = 512
"""Trajectories in a shard."""


@dataclass(frozen=True)
class Shard:
    """Trajectories that are committed together, with the rows of their messages."""

    name: str
    trajectories: tuple[dict[str, Any], ...]
    messages: tuple[dict[str, Any], ...]
    fingerprint: str


class Import(Stage[Shard, int]):
    """Read logs of other agents into the same tables.

    The run is named after the format and the content, unless the user names it. `spec`: digest of what the logs say,
    wherever they lie.
    """

    verb = "import"
    writes = ("messages", "trajectories")
    scheduled = False

    def __init__(self, config: Config, format: str, path: Path) -> None:
        """Read the logs."""
        importer: Importer = config.importer.make(format)
        self.format, self.path = format, str(path)
        self.read: Imported = importer.read(path)
        rejects = [[reject.line, reject.reason, reject.text] for reject in self.read.rejects]
        self.spec = digest([importer.name, self.read.trajectories, self.read.messages, rejects])
        self.run = Run(config, config.run.name or f"{importer.name}-{self.spec[:8]}")
        self.shards = list(self._cut())

    def _cut(self) -> Iterator[Shard]:
        messages: dict[str, list[dict[str, Any]]] = {}
        for row in self.read.messages:
            messages.setdefault(row["trajectory_id"], []).append(row)
        for number, start in enumerate(range(0, len(self.read.trajectories), SHARD)):
            part = self.read.trajectories[start : start + SHARD]
            rows = [row for trajectory in part for row in messages[trajectory["trajectory_id"]]]
            fingerprint = digest([ALGORITHM_VERSION, part, rows])
            yield Shard(f"{Kind.IMPORTED}-{number:05d}", tuple(part), tuple(rows), fingerprint)

    def ready(self) -> None:
        """Also refuse a name that is taken."""
        self.run.claimed(self.spec)
        super().ready()

    def begin(self) -> None:
        """Write the run's manifest, tasks and rejects."""
        config = self.run.config.to_store()
        config["run"]["name"] = self.run.id
        self.run.claim(
            {"kind": "import", "format": self.format, "path": self.path, "spec": self.spec, "config": config}
        )
        super().begin()
        write = self.run.writer("00000", self.spec)
        write("tasks", list({row["task_id"]: row for row in self.read.tasks}.values()))
        write("rejects", [reject_row(reject, "import") for reject in self.read.rejects])

    def work(self, shard: Shard) -> int:
        """Commit one shard; how many trajectories it holds."""
        write = self.run.writer(shard.name, shard.fingerprint, Kind.IMPORTED)
        write("messages", shard.messages)
        write("trajectories", shard.trajectories)
        return len(shard.trajectories)

    @property
    def counts(self) -> str:
        """What was read, in words."""
        return (
            f"{len(self.read.trajectories)} trajectories, {len(self.read.messages)} messages, "
            f"{len(self.read.rejects)} rejected rows"
        )

    def foretell(self) -> Iterator[str]:
        """What would be imported."""
        yield f"would import {self.counts} as run {self.run.id}"
