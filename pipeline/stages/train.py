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

from apportion import schemas
from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.core.frames import frame
from apportion.pipeline.core.ids import digest
from apportion.pipeline.core.places import hold
from apportion.pipeline.core.progress import watcher
from apportion.pipeline.datasets.hygiene import apart, clean, of_task, with_split
from apportion.pipeline.engines.checkpoints import PROVENANCE, provenance
from apportion.pipeline.engines.policy import Policy, policies_of
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages import advantages
from apportion.pipeline.stages.common import ALGORITHM_VERSION, set_apart
from apportion.pipeline.training.job import Job, launch
from apportion.pipeline.training.rows import Refused, refuse_pairs, refuse_sequences

Kind = Literal["dpo", "grpo"]
TRAINED = "train"
RECORDS = ("policies", "training_log")


class NothingToLearnError(UserError):
    """The run holds no row with a signal."""


@dataclass(frozen=True)
class TrainPlan:
    """What `train` would do."""

    config: Config
    run: str
    kind: Kind
    policy: Policy
    """What is trained, on the messages of its own agents."""
    out: Path
    data: pa.Table
    told: dict[str, Any]
    """What goes into the checkpoint: where its weights come from, and the digest of the job."""
    elsewhere: int
    """Rows on the validation and test splits, which are not trained on."""
    made: advantages.Made | None
    """GRPO: the advantages that the rows are made of."""
    refused: Refused
    """Of `data`: rows that the trainer will leave out."""

    @property
    def name(self) -> str:
        return _name(self.kind, self.made, self.policy)

    @property
    def job(self) -> str:
        return str(self.told["job"])

    @property
    def trained(self) -> bool:
        """Whether the checkpoint is there, made by this very job."""
        return bool(provenance(self.out, "job").get("job") == self.job)

    @property
    def done(self) -> bool:
        """Whether checkpoint, log and policy stand."""
        store = Store(self.config.store_root)
        return self.trained and store.shard_stands(self.run, f"train-{self.job}", self.job, RECORDS)


def plan(
    config: Config, run: str, kind: Kind, out: Path | None = None, iteration: int = 0, policy: str = ""
) -> TrainPlan:
    """Gather the rows to train on, and refuse what cannot be trained. GRPO's advantages are computed here.

    `policy`: name of the one that is trained; by default the team's. The others stay as they are.
    """
    store = Store(config.store_root)
    trained = policies_of(config).named(policy)
    made = advantages.make(config, run) if kind == "grpo" else None
    every = _pairs(config, store, run) if made is None else _sequences(config, store, run, made.rows)
    every = _of_policy(config, every, policy)
    data = every.filter(pc.field("split") == TRAINED)
    elsewhere = every.num_rows - data.num_rows
    data = _limited(data, "task_id" if kind == "dpo" else "group_id", config.train.limit)
    if not data.num_rows:
        raise NothingToLearnError(_nothing(config, run, kind, policy, elsewhere))
    usable, refused = (refuse_pairs if kind == "dpo" else refuse_sequences)(frame(data))
    if usable.is_empty():
        raise UserError(f"run {run!r}: none of its {data.num_rows} rows can be trained on; refused: {refused}")
    _check_policy(kind, trained, store.read("policies", run).to_pylist(), data)
    settings = _settings(config, kind)
    job = digest([ALGORITHM_VERSION, kind, trained.id, settings, config.run.seed, _digest(data)])
    told = {
        "base": trained.row["base"], "version": int(trained.row["version"]) + 1, "parent": trained.id,
        "trainer": kind, "run": run, "iteration": iteration, "settings": settings, "job": job,
    }  # fmt: skip
    folder = out or config.data_root / "checkpoints" / f"{run}-{_name(kind, made, trained)}"
    planned = TrainPlan(config, run, kind, trained, folder, data, told, elsewhere, made, refused)
    _check_place(planned)
    return planned


def _name(kind: Kind, made: advantages.Made | None, policy: Policy) -> str:
    return "-".join(filter(None, [kind, made.method if made else "", policy.name]))


def _of_policy(config: Config, rows: pa.Table, name: str) -> pa.Table:
    """The rows of the agents whose policy is the one called `name`; an agent that is not configured has the team's."""
    own = {agent.name: agent.policy for agent in config.team.agents}
    return rows.filter(pa.array([own.get(agent, "") == name for agent in rows["agent"].to_pylist()], pa.bool_()))


def _nothing(config: Config, run: str, kind: Kind, policy: str, elsewhere: int) -> str:
    cure = "annotate its failures (apportion annotate), or sample more rollouts"
    if kind == "grpo":
        cure = "every group is all right or all wrong; sample more rollouts a task (sample.group_size) or other tasks"
    if config.export.evaluation:
        cure += "; mind that questions in export.evaluation are left out"
    if config.team.policies:
        cure += f"; mind that only agents of {f'policy {policy!r}' if policy else 'the policy of the team'} count"
    if elsewhere:
        cure = f"all {elsewhere} rows are on other splits; lower export.validation and export.test"
    return f"run {run!r} has nothing to train {kind} on: {cure}"


def _check_place(planned: TrainPlan) -> None:
    """Raise UserError where something else than this training is at its place."""
    folder = planned.out
    if folder.exists() and not planned.trained:
        what = "holds another training" if (folder / PROVENANCE).is_file() else "exists and is no checkpoint of ours"
        raise UserError(f"{folder}: {what}; remove it, or choose another place (--out FOLDER, for a loop run.name)")


def run(planned: TrainPlan) -> Path:
    """Train in a process of its own, and note metrics and the new policy in the run. A finished job is not repeated.

    Nobody else may train into the folder meanwhile, and nothing that appears in it is touched.
    """
    config, store = planned.config, Store(planned.config.store_root)
    with store.lock(planned.run), hold(planned.out.resolve()):
        _check_place(planned)
        if planned.done:
            return planned.out
        if planned.made is not None:
            advantages.write(config, planned.run, planned.made)
        desk = config.data_root / "jobs" / planned.job
        if not (planned.trained and (desk / "log.parquet").is_file()):
            _train(planned, desk)
        _record(planned, desk / "log.parquet")
        shutil.rmtree(desk)
    return planned.out


def _train(planned: TrainPlan, desk: Path) -> None:
    config = planned.config
    desk.mkdir(parents=True, exist_ok=True)
    schema = schemas.TABLES["preferences" if planned.kind == "dpo" else "train_rows"]
    pq.write_table(schema.conform(planned.data), desk / "data.parquet")
    job = Job(
        kind=planned.kind, model=str(planned.policy.checkpoint), data=str(desk / "data.parquet"), out=str(planned.out),
        log=str(desk / "log.parquet"), seed=config.run.seed, iteration=int(planned.told["iteration"]),
        settings=_settings(config, planned.kind), provenance=planned.told, margin=config.train.margin,
    )  # fmt: skip
    launch(job, _reporter(f"training {planned.name}"))
    if not planned.trained:
        raise WorkError(f"{planned.out}: the trainer ended without writing the checkpoint")


def _record(planned: TrainPlan, log: Path) -> None:
    """Write what the run keeps of a training: metrics and the new policy."""
    store, row = Store(planned.config.store_root), planned.policy.at(str(planned.out)).row
    metrics = pq.read_table(log)
    metrics = metrics.append_column("job", pa.array([planned.job] * metrics.num_rows, pa.large_string()))
    shard = f"train-{planned.job}"
    others = [p.stem.removeprefix("part-") for p in store.shards("policies", planned.run)]
    known = [store.read("policies", planned.run, one)["policy_id"].to_pylist() for one in others if one != shard]
    rows = [] if any(row["policy_id"] in some for some in known) else [row]
    for table, data in (("policies", schemas.TABLES["policies"].from_rows(rows)), ("training_log", metrics)):
        store.write_shard(table, planned.run, shard, data, planned.job)


def _pairs(config: Config, store: Store, run: str) -> pa.Table:
    """The clean pairs of a run with their splits."""
    tasks = frame(store.read("tasks", run))
    section = config.export
    found = frame(store.read("preferences", run).drop_columns("run_id"))
    kept = clean(found, tasks, evaluation=set_apart(config)).pairs
    return with_split(kept, tasks, validation=section.validation, test=section.test).to_arrow()


def _sequences(config: Config, store: Store, run: str, rows: pa.Table) -> pa.Table:
    """GRPO's rows without those whose question is set apart."""
    asked = set_apart(config)
    if not asked:
        return rows
    rollouts = frame(store.read("trajectories", run, columns=["trajectory_id", "task_id"]))
    kept, _ = apart(of_task(frame(rows), rollouts), frame(store.read("tasks", run)), asked)
    return schemas.TABLES["train_rows"].conform(kept.drop("task_id").to_arrow())


def _check_policy(kind: Kind, policy: Policy, known: list[dict[str, Any]], data: pa.Table) -> None:
    """GRPO's ratios start from the policy that sampled; DPO's token ids need its tokenizer."""
    wrote = set(data["policy_id"].to_pylist())
    place = f"{policy.key}.path = {policy.model.path!r}"
    if kind == "grpo" and wrote != {policy.id}:
        raise UserError(
            f"{place} did not sample this run; GRPO's ratios start from the policy that did: leave {policy.key}.path "
            "as it was"
        )
    tokenizers = {row["tokenizer_digest"] for row in known if row["policy_id"] in wrote}
    if tokenizers - {policy.digests[1]}:
        raise UserError(
            f"{place} has another tokenizer than the policy that wrote the pairs; train a checkpoint with the same one"
        )


_NOT_FOR: dict[Kind, set[str]] = {
    "grpo": {"dpo_beta", "dpo_epochs", "margin"},
    "dpo": {"dpo_epochs", "beta", "epsilon", "epsilon_high", "importance_cap", "loss", "ratio"},
}
"""Keys of `train` that do not bear on a kind of training: a change there makes no other checkpoint."""


def _settings(config: Config, kind: Kind) -> dict[str, Any]:
    """What the trainer is told: the section `train`, with the passes of this kind of training and no other's keys."""
    section = config.train
    epochs = section.dpo_epochs if kind == "dpo" else section.epochs
    return section.model_copy(update={"epochs": epochs}).model_dump(mode="json", exclude=_NOT_FOR[kind])


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
