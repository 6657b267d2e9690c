"""What stages share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.runs.run import Kind
from apportion.pipeline.runs.store import Store
from apportion.pipeline.tasks.reading.files import load_questions
from apportion.schemas import TABLES

ALGORITHM_VERSION = 2
"""Raise it when the same inputs would give other rows: shards of older versions are then done again."""


def writer(store: Store, run: str, shard: str, fingerprint: str) -> Any:
    def write(table: str, data: Sequence[dict[str, Any]]) -> None:
        notes = {"kind": str(Kind.COUNTERFACTUAL)} if table == "trajectories" else {}
        store.write_shard(table, run, shard, TABLES[table].from_rows(data), fingerprint, notes)

    return write


def set_apart(config: Config) -> list[str]:
    """The questions of `export.evaluation`, which no data set may hold and no training may see."""
    file = config.export.evaluation
    return load_questions(file, config.tasks.question) if file else []
