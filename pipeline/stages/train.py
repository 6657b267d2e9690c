"""Stage: preference pairs or training rows of a run -> a checkpoint that vLLM loads, and the training log."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import schemas
from pipeline.config import Config
from pipeline.errors import UserError, WorkError
from pipeline.failures.hygiene import clean
from pipeline.ids import digest
from pipeline.models import PROVENANCE, provenance, resolve_model
from pipeline.stages import advantages
from pipeline.stages.common import ALGORITHM_VERSION, frame, watcher
from pipeline.stages.sample import policy_of
from pipeline.store import Store
from pipeline.training.job import Job, launch

Kind = Literal["dpo", "grpo"]
TRAINED = "train"


class NothingToLearnError(UserError):
    """The run holds no row with a signal."""


@dataclass(frozen=True)
class TrainPlan:
    """What `train` would do."""

    config: Config
    run: str
    kind: Kind
    out: Path
    data: pa.Table
    policy_id: str
    told: dict[str, Any]
    """What goes into the checkpoint: where its weights come from, and the digest of the job."""
    refused: dict[str, int]
    """GRPO: messages that cannot be trained on, by reason."""
    flat: int
    """GRPO: sequences without any advantage, left out."""

    @property
    def name(self) -> str:
        return self.kind if self.kind == "dpo" else f"grpo-{self.config.advantages.method}"

    @property
    def done(self) -> bool:
        """Whether the checkpoint is there, made by this very job."""
        return bool(provenance(self.out, "job").get("job") == self.told["job"])


def plan(config: Config, run: str, kind: Kind, out: Path | None = None, iteration: int = 0) -> TrainPlan:
    """Gather the rows to train on, and refuse what cannot be trained. GRPO's advantages are computed here."""
    store = Store(config.store_root)
    policy_id, policy = policy_of(config)
    refused, flat = {}, 0
    if kind == "dpo":
        kept = clean(frame(store.read("preferences", run)), frame(store.read("tasks", run))).pairs
        data = kept.filter(split=TRAINED).to_arrow()
        cure = "annotate its failures (apportion annotate), or sample more rollouts"
    else:
        made = advantages.run(config, run)
        refused, flat = made.refused, made.flat
        rows = store.read("train_rows", run)
        data = rows.filter((pc.field("split") == TRAINED) & (pc.field("method") == config.advantages.method))
        cure = "every group is all right or all wrong; sample more rollouts a task (sample.group_size) or other tasks"
    data = _limited(data, "task_id" if kind == "dpo" else "group_id", config.train.limit)
    if not data.num_rows:
        raise NothingToLearnError(f"run {run!r} has nothing to train {kind} on: {cure}")
    wrote = set(data["policy_id"].to_pylist())
    if kind == "grpo" and wrote != {policy_id}:
        raise UserError(
            f"model.path = {config.model.path!r} did not sample run {run!r}; GRPO's ratios start from the policy that "
            "did: leave model.path as it was"
        )
    settings = _settings(config, kind)
    job = digest([ALGORITHM_VERSION, kind, policy_id, settings, config.run.seed, _digest(data)])
    told = {
        "base": policy["base"], "version": int(policy["version"]) + 1, "parent": policy_id, "trainer": kind,
        "run": run, "iteration": iteration, "settings": settings, "job": job,
    }  # fmt: skip
    name = kind if kind == "dpo" else f"grpo-{config.advantages.method}"
    folder = out or config.data_root / "checkpoints" / f"{run}-{name}"
    planned = TrainPlan(config, run, kind, folder, data.drop_columns("run_id"), policy_id, told, refused, flat)
    if folder.exists() and not planned.done and not (folder / PROVENANCE).is_file():
        raise UserError(f"{folder}: exists and is no checkpoint of ours; choose another folder: --out FOLDER")
    return planned


def run(planned: TrainPlan) -> Path:
    """Train in a process of its own, and note metrics and the new policy in the run. A finished job is not repeated."""
    if planned.done:
        return planned.out
    config, store = planned.config, Store(planned.config.store_root)
    desk = config.data_root / "jobs" / str(planned.told["job"])
    desk.mkdir(parents=True, exist_ok=True)
    schema = schemas.TABLES["preferences" if planned.kind == "dpo" else "train_rows"]
    pq.write_table(schema.conform(planned.data), desk / "data.parquet")
    model = resolve_model(config.model.path, data_root=config.data_root, hub=config.model.hub)
    job = Job(
        kind=planned.kind, model=str(model), data=str(desk / "data.parquet"), out=str(planned.out),
        log=str(desk / "log.parquet"), seed=config.run.seed, iteration=int(planned.told["iteration"]),
        settings=_settings(config, planned.kind), provenance=planned.told, margin=config.train.margin,
    )  # fmt: skip
    launch(job, _reporter(f"training {planned.name}"))
    if not planned.done:
        raise WorkError(f"{planned.out}: the trainer ended without writing the checkpoint")
    log = pq.read_table(desk / "log.parquet")
    shard = f"{planned.name}-{planned.out.name}"
    store.write_shard("training_log", planned.run, shard, log, str(planned.told["job"]))
    after = config.model_copy(update={"model": config.model.model_copy(update={"path": str(planned.out)})})
    policy_id, row = policy_of(after)
    table = schemas.TABLES["policies"].from_rows([{"policy_id": policy_id, **row}])
    store.write_shard("policies", planned.run, shard, table, str(planned.told["job"]))
    shutil.rmtree(desk)
    return planned.out


def _settings(config: Config, kind: Kind) -> dict[str, Any]:
    """What the trainer is told: the section `train`, with the passes of this kind of training."""
    section = config.train
    epochs = section.dpo_epochs if kind == "dpo" else section.epochs
    return section.model_copy(update={"epochs": epochs}).model_dump(mode="json")


def _limited(data: pa.Table, unit: str, limit: int | None) -> pa.Table:
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


def _reporter(name: str) -> Callable[[int, int], None]:
    """A bar that starts with the first report and follows the optimizer's steps."""
    state: dict[str, Any] = {"done": 0}

    def report(done: int, total: int) -> None:
        if "advance" not in state:
            state["advance"] = watcher().start(name, total)
        state["advance"](done - state["done"])
        state["done"] = done

    return report


def _digest(data: pa.Table) -> str:
    """Of the rows by their keys and numbers: enough to tell two data sets of a run apart."""
    key = "pair_id" if "pair_id" in data.column_names else "row_id"
    weight = "weight" if key == "pair_id" else "advantages"
    return digest([data[key].to_pylist(), data[weight].to_pylist()])
