"""Stage: outcomes, credits and first errors -> advantages and training rows of one method, shard by shard."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pyarrow.compute as pc

from pipeline.advantages.base import Inputs, method
from pipeline.advantages.rows import train_rows
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.failures.hygiene import with_split
from pipeline.ids import digest
from pipeline.stages import annotate
from pipeline.stages.common import ALGORITHM_VERSION, frame
from pipeline.store import Store

TABLES = ("advantages", "train_rows")


@dataclass(frozen=True)
class Made:
    """What came of it: training rows, sequences without any advantage, and messages refused, by reason."""

    rows: int
    flat: int = 0
    refused: dict[str, int] = field(default_factory=dict)


def run(config: Config, run: str) -> Made:
    """Compute the advantages of the configured method for every sampled rollout of `run`, and commit both tables."""
    store = Store(config.store_root)
    sources = [p.stem.removeprefix("part-") for p in store.shards("trajectories", run)]
    sources = [name for name in sources if name.startswith("sampled-")]
    if not sources:
        raise UserError(f"run {run!r} has no sampled rollouts to train on; logs that were imported carry no tokens")
    spec = annotate.plan(config, run).spec
    made = [_shard(config, store, run, name, spec) for name in sources]
    refused: Counter[str] = Counter()
    for one in made:
        refused.update(one.refused)
    return Made(sum(one.rows for one in made), sum(one.flat for one in made), dict(refused))


def _shard(config: Config, store: Store, run: str, source: str, spec: str) -> Made:
    chosen = method(config.advantages.method)
    made = chosen.advantages(_inputs(config, store, run, source, spec))
    messages = frame(store.read("messages", run, source).filter(pc.field("role") == "assistant"))
    rows = train_rows(made, messages, config.advantages.unit, keep_flat=config.train.beta > 0)
    tasks = frame(store.read("tasks", run))
    names = frame(store.read("trajectories", run, source, columns=["trajectory_id", "task_id"]))
    split = with_split(
        rows.table.join(names, on="trajectory_id", how="left", maintain_order="left"),
        tasks, validation=config.export.validation, test=config.export.test,
    ).drop("task_id")  # fmt: skip
    name = f"{chosen.name}-{source}"
    print_of = digest([ALGORITHM_VERSION, chosen.name, dict(chosen.parameters), config.advantages.unit, source])
    store.write_shard("advantages", run, name, made.to_arrow(), print_of)
    store.write_shard("train_rows", run, name, split.to_arrow(), print_of)
    return Made(len(split), rows.flat, dict(rows.refused))


def _inputs(config: Config, store: Store, run: str, source: str, spec: str) -> Inputs:
    """The tables that belong to one shard of trajectories: credits of the configured game, the failures beside them."""
    credited = f"{source}-{spec}"
    credits = store.read("credits", run, credited).filter(pc.field("estimator") == config.annotate.estimator)
    shares = store.read("message_credits", run, credited)
    aside = store.read("rejects", run, credited, columns=["file"])["file"].to_pylist()
    failed = f"failures-{source}"
    return Inputs(
        trajectories=frame(store.read("trajectories", run, source)),
        messages=frame(store.read("messages", run, source)),
        team_roles={agent.name: agent.role for agent in config.team.agents},
        credits=frame(credits),
        message_credits=frame(shares),
        localizations=frame(store.read("localizations", run, failed)),
        steps=frame(store.read("steps", run, failed)),
        unplayable=frozenset(place.removeprefix("trajectory ") for place in aside),
    )
