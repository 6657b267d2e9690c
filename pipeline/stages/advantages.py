"""Stage: outcomes, credits and first errors -> advantages and training rows of one method, shard by shard."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from apportion import schemas
from apportion.pipeline.advantages.base import Advantage, Inputs
from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.frames import frame
from apportion.pipeline.core.ids import digest
from apportion.pipeline.core.registry import Method, family
from apportion.pipeline.datasets.hygiene import with_split
from apportion.pipeline.datasets.train_rows import train_rows
from apportion.pipeline.games.rejects import COLUMNS, unplayable
from apportion.pipeline.localizers.base import label
from apportion.pipeline.runs.run import Run
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.common import ALGORITHM_VERSION
from apportion.pipeline.stages.credit import Credit


@dataclass(frozen=True)
class Made:
    """Advantages and training rows of a run, by shard of trajectories; what was left out, and why."""

    method: str
    advantages: dict[str, pa.Table]
    train_rows: dict[str, pa.Table]
    flat: int
    """Sequences without any advantage."""
    refused: dict[str, int]
    """Messages that cannot be trained on, by reason."""

    @property
    def rows(self) -> pa.Table:
        return pa.concat_tables(self.train_rows.values())


def chosen_method(config: Config) -> tuple[Advantage, dict[str, Any]]:
    """The configured method, and those of its parameters that are not its defaults. Raises UserError where a user's own
    has the name of one that comes with the package: the rows of both would be taken for the same.
    """
    section = config.advantages
    chosen: Advantage = section.make(section.method)
    methods = family("advantages")
    if methods.is_own(section.method) and chosen.name in methods.shipped():
        raise UserError(f"advantages.method = {section.method!r}: its name {chosen.name!r} is taken; give it another")
    if not isinstance(chosen, Method):
        return chosen, section.parameters(section.method)
    return chosen, chosen.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def make(config: Config, run: str) -> Made:
    """Compute the advantages of the configured method for every sampled rollout of `run`; writes nothing."""
    store = Store(config.store_root)
    sources = [p.stem.removeprefix("part-") for p in store.shards("trajectories", run)]
    sources = [name for name in sources if name.startswith("sampled-")]
    if not sources:
        raise UserError(f"run {run!r} has no sampled rollouts to train on; logs that were imported carry no tokens")
    chosen, changed = chosen_method(config)
    # The plan of the credits asks for the model, which may be gone by now: only where credits are needed. It is dry
    # since the credit is only read: a manifest alone must start no code.
    shards = Credit(Run(config, run), dry=True).shards if chosen.needs else ()
    credited = {shard.source: shard.name for shard in shards}
    tasks = frame(store.read("tasks", run))
    made = Made(chosen.name, {}, {}, 0, {})
    flat, refused = 0, Counter[str]()
    for source in sources:
        advantages = chosen.advantages(_inputs(config, store, run, source, credited.get(source, "")))
        messages = frame(store.read("messages", run, source).filter(pc.field("role") == "assistant"))
        rows = train_rows(
            advantages, messages, config.advantages.unit, config.train.beta > 0, chosen.weighs_agents, changed
        )
        names = frame(store.read("trajectories", run, source, columns=["trajectory_id", "task_id"]))
        split = with_split(
            rows.table.join(names, on="trajectory_id", how="left", maintain_order="left"),
            tasks, validation=config.export.validation, test=config.export.test,
        ).drop("task_id")  # fmt: skip
        made.advantages[source] = advantages.to_arrow()
        made.train_rows[source] = schemas.TABLES["train_rows"].conform(split.to_arrow())
        flat += rows.flat
        refused.update(rows.refused)
    return replace(made, flat=flat, refused=dict(refused))


def write(config: Config, run: str, made: Made) -> None:
    """Commit both tables, in place of what the method gave before."""
    store = Store(config.store_root)
    for source, rows in made.train_rows.items():
        name, print_of = f"{made.method}-{source}", digest([ALGORITHM_VERSION, rows["row_id"].to_pylist()])
        store.write_shard("advantages", run, name, made.advantages[source], print_of)
        store.write_shard("train_rows", run, name, rows, print_of)


def _inputs(config: Config, store: Store, run: str, source: str, credited: str) -> Inputs:
    """The tables that belong to one shard of trajectories: credits of the configured game, the failures beside them."""
    credits = store.read("credits", run, credited).filter(pc.field("player_kind") == "agent")
    shares = store.read("message_credits", run, credited)
    failed = f"failures-{label(config.failures.localizer)}-{source}"
    return Inputs(
        trajectories=frame(store.read("trajectories", run, source).filter(pc.field("outcome").is_valid())),
        messages=frame(store.read("messages", run, source)),
        team_roles={agent.name: agent.role for agent in config.team.agents},
        credits=frame(credits),
        message_credits=frame(shares),
        localizations=frame(store.read("localizations", run, failed)),
        steps=frame(store.read("steps", run, failed)),
        unplayable=frozenset(unplayable(store.read("rejects", run, credited, columns=COLUMNS))),
    )
