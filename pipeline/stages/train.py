"""Stage: preference pairs or training rows of a run -> a checkpoint that vLLM loads, and the training log."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from apportion import schemas
from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.core.frames import frame
from apportion.pipeline.core.ids import digest
from apportion.pipeline.core.places import hold
from apportion.pipeline.core.progress import following
from apportion.pipeline.datasets.trained_on import clean_pairs, clean_sequences, digest_of, limited, of_policy
from apportion.pipeline.engines.checkpoints import PROVENANCE, provenance
from apportion.pipeline.engines.policy import Policy, policies_of
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages import advantages
from apportion.pipeline.stages.common import ALGORITHM_VERSION, set_apart
from apportion.pipeline.training.job import Job, Kind, launch, settings_of
from apportion.pipeline.training.rows import Refused, refuse_pairs, refuse_sequences

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
    aside = set_apart(config)
    rows = clean_pairs(config, store, run, aside) if made is None else clean_sequences(store, run, made.rows, aside)
    every = of_policy(config, rows, policy)
    data = every.filter(pc.field("split") == TRAINED)
    elsewhere = every.num_rows - data.num_rows
    data = limited(data, "task_id" if kind == "dpo" else "group_id", config.train.limit)
    if not data.num_rows:
        raise NothingToLearnError(_nothing(config, run, kind, policy, elsewhere))
    usable, refused = (refuse_pairs if kind == "dpo" else refuse_sequences)(frame(data))
    if usable.is_empty():
        raise UserError(f"run {run!r}: none of its {data.num_rows} rows can be trained on; refused: {refused}")
    _check_policy(kind, trained, store.read("policies", run).to_pylist(), data)
    settings = settings_of(config.train, kind)
    job = digest([ALGORITHM_VERSION, kind, trained.id, settings, config.run.seed, digest_of(data)])
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


def _nothing(config: Config, run: str, kind: Kind, policy: str, elsewhere: int) -> str:
    """Why there is nothing to train on, and what to do."""
    cure = "annotate its failures (apportion annotate), or sample more rollouts"
    if kind == "grpo":
        cure = "every group is all right or all wrong; sample more rollouts a task (sample.group_size) or other tasks"
    cure += "; mind that questions in export.evaluation are left out" if config.export.evaluation else ""
    if config.team.policies:
        cure += f"; mind that only agents of {f'policy {policy!r}' if policy else 'the policy of the team'} count"
    cure = f"all {elsewhere} rows are on other splits; lower export.validation and export.test" if elsewhere else cure
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
        settings=settings_of(config.train, planned.kind), provenance=planned.told, margin=config.train.margin,
    )  # fmt: skip
    launch(job, following(f"training {planned.name}"))
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
