"""What of a run is trained on: clean pairs or sequences, those of one policy, and as many as are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from apportion import schemas
from apportion.pipeline.core.config import Config
from apportion.pipeline.core.frames import frame
from apportion.pipeline.core.ids import digest
from apportion.pipeline.datasets.hygiene import apart, clean, of_task, with_split
from apportion.pipeline.runs.store import Store


def clean_pairs(config: Config, store: Store, run: str, evaluation: Sequence[str]) -> pa.Table:
    """The clean pairs of a run with their splits; `evaluation`: questions that are set apart."""
    tasks = frame(store.read("tasks", run))
    section = config.export
    found = frame(store.read("preferences", run).drop_columns("run_id"))
    kept = clean(found, tasks, evaluation=evaluation).pairs
    return with_split(kept, tasks, validation=section.validation, test=section.test).to_arrow()


def clean_sequences(store: Store, run: str, rows: pa.Table, evaluation: Sequence[str]) -> pa.Table:
    """GRPO's rows without those whose question is set apart."""
    if not evaluation:
        return rows
    rollouts = frame(store.read("trajectories", run, columns=["trajectory_id", "task_id"]))
    kept, _ = apart(of_task(frame(rows), rollouts), frame(store.read("tasks", run)), evaluation)
    return schemas.TABLES["train_rows"].conform(kept.drop("task_id").to_arrow())


def of_policy(config: Config, rows: pa.Table, name: str) -> pa.Table:
    """The rows of the agents whose policy is the one called `name`; an agent that is not configured has the team's."""
    own = {agent.name: agent.policy for agent in config.team.agents}
    return rows.filter(pa.array([own.get(agent, "") == name for agent in rows["agent"].to_pylist()], pa.bool_()))


def limited(data: pa.Table, unit: str, limit: int | None) -> pa.Table:
    """The rows of whole units (groups, questions) in the order of a hash, until `limit` rows are there."""
    if limit is None:
        return data
    rows = frame(data)
    names = sorted(rows[unit].unique(), key=digest)
    sizes = dict(rows[unit].value_counts().iter_rows())
    taken, count = [], 0
    for name in names:
        if count >= limit:
            break
        taken.append(name)
        count += sizes[name]
    return rows.filter(pl.col(unit).is_in(taken)).to_arrow()


def digest_of(data: pa.Table) -> str:
    """Of the rows by their keys and numbers: enough to tell two data sets of a run apart."""
    key = "pair_id" if "pair_id" in data.column_names else "row_id"
    weight = "weight" if key == "pair_id" else "advantages"
    return digest([data[key].to_pylist(), data[weight].to_pylist()])
