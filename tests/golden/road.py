"""The one file of the golden test that knows where the stages are: when the tree moves, this file follows it.

Every verb takes a folder with the inputs, the name of a TOML file there, and settings as `--set` takes them. It does
its work in the store below that folder, and returns what it made beside the store's tables: tables of its own by name.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq
from script import SeededEngine

from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.evaluation import labelled
from apportion.pipeline.importers.reading.agentrx import root_causes
from apportion.pipeline.runs.rules import rules_of
from apportion.pipeline.runs.run import Run
from apportion.pipeline.runs.sql import query
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages import advantages, export, imports, loop, sample, train
from apportion.pipeline.stages import evaluate as evaluation
from apportion.pipeline.stages.audit import Audit
from apportion.pipeline.stages.blame import Blame
from apportion.pipeline.stages.credit import Credit
from apportion.pipeline.stages.inject import Inject
from apportion.pipeline.stages.stage import play
from apportion.pipeline.training.job import Job
from apportion.schemas import TABLES

Rows = list[dict[str, Any]]
Made = dict[str, Any]
"""Tables by name: rows as dictionaries, or an Arrow table."""
ADVANTAGE_METHODS = ("grpo", "rloo", "dr_mas", "sharp", "shapley", "success_failure")
SHIPPED = ("demo", "gsm8k", "loop")
"""Configurations that the package brings."""


@contextmanager
def stand_ins() -> Iterator[None]:
    """A script in the place of the engine, and a trainer that copies the checkpoint that it was to train."""
    engine = SeededEngine()
    with ExitStack() as stack:
        stack.enter_context(mock.patch("apportion.pipeline.engines.running.engine_for", return_value=engine))
        stack.enter_context(mock.patch("apportion.pipeline.stages.train.launch", _launch))
        yield


def plan(folder: Path, toml: str, *sets: str) -> Made:
    """The run's ids: its name made from the configuration, rules, policy, and every rollout with its seed."""
    config = _configured(folder, toml, *sets, "run.name=")
    found = sample.Sample(config)
    run = {
        "run_id": config.run_id, "rules": found.rules, "spec": found.spec, "policy_id": found.policies.id,
        **{f"policy {key}": value for key, value in found.policies.team.row.items() if key != "policy_id"},
    }  # fmt: skip
    rollouts = [
        {
            "shard": shard.name, "task_id": one.task.task_id, "group_id": one.group_id, "index": one.index,
            "trajectory_id": one.trajectory_id, "seed": one.seed, "origin": one.origin,
        }
        for shard in found.shards
        for one in shard.rollouts
    ]  # fmt: skip
    return {"run": [run], "rollouts": rollouts}


def shipped(folder: Path) -> Made:
    """The names that runs of the package's own configurations get."""
    names = [{"config": name, "run_id": load_config(Path(f"{name}.toml"), ("run.name=",)).run_id} for name in SHIPPED]
    return {"shipped": names}


def sampled(folder: Path, toml: str, *sets: str) -> Made:
    """Sample a run; its manifest's digests."""
    config = _configured(folder, toml, *sets)
    play(sample.Sample(config))
    return {"manifest": [_manifest(config, config.run_id)]}


def credited(folder: Path, toml: str, *sets: str, run: str = "") -> Made:
    """Credit a run's agents."""
    config = _configured(folder, toml, *sets)
    planned = Credit(Run(config, run or config.run_id))
    games = [
        {"shard": shard.name, "rules": shard.rules.__dict__, "games": planned.work(shard)} for shard in planned.pending
    ]
    return {"annotated": games}


def blamed(folder: Path, toml: str, *sets: str, run: str = "") -> Made:
    """Find, repair and pair what went wrong in a run's failures."""
    config = _configured(folder, toml, *sets)
    planned = Blame(Run(config, run or config.run_id))
    looked = [{"shard": shard.name, "failures": planned.work(shard)} for shard in planned.pending]
    return {"looked at": looked}


def injected(folder: Path, toml: str, *sets: str) -> Made:
    """Plant errors in a run's successes."""
    config = _configured(folder, toml, *sets)
    planned = Inject(Run(config, config.run_id))
    return {"planted": [{"shard": s.name, **asdict(planned.work(s))} for s in planned.pending]}


def audited(folder: Path, toml: str, *sets: str) -> Made:
    """Replay what the audit asks for, and make its figures."""
    config = _configured(folder, toml, *sets)
    stage = Audit(Run(config, config.run_id))
    for shard in stage.pending:
        stage.work(shard)
    stage.finish(())
    return {}


def advantaged(folder: Path, toml: str, *sets: str) -> Made:
    """Advantages and training rows of the configured method."""
    config = _configured(folder, toml, *sets)
    made = advantages.make(config, config.run_id)
    advantages.write(config, config.run_id, made)
    refused = [{"reason": reason, "messages": count} for reason, count in made.refused.items()]
    return {"left out": [{"reason": "no advantage", "messages": made.flat}, *refused]}


def trained(folder: Path, toml: str, kind: str, *sets: str) -> Made:
    """What the trainer is told and given; the run keeps its log and the new policy."""
    config = _configured(folder, toml, *sets)
    planned = train.plan(config, config.run_id, kind)
    out = train.run(planned)
    told = {name: _told(json.loads((out / name).read_text())) for name in ("job.json", "apportion.json")}
    numbers = {"elsewhere": planned.elsewhere, "refused": planned.refused.total}
    return {"data": pq.read_table(out / "data.parquet"), "told": [told | numbers]}


def exported(folder: Path, toml: str, *sets: str, runs: Sequence[str] = ()) -> Made:
    """Every data set of an export, row by row in its order, and what the manifest says of the data."""
    config = _configured(folder, toml, *sets)
    place = folder / "exports" / "-".join(runs or [config.run_id])
    manifest = export.run(dict.fromkeys(runs or [config.run_id], config), place)
    sets_made: Made = {str(file.relative_to(place)): pq.read_table(file) for file in sorted(place.rglob("*.parquet"))}
    return sets_made | {"manifest": [{"provenance": manifest["provenance"], "report": manifest["report"]}]}


def imported(folder: Path, toml: str, format: str, path: str, *sets: str) -> Made:
    """Read logs of other people's agents into a run."""
    config = _configured(folder, toml, *sets)
    stage = imports.Import(config, format, folder / path)
    play(stage)
    return {"manifest": [_manifest(config, stage.run.id)], "notes": [{"note": note} for note in stage.read.notes]}


def evaluated(
    folder: Path, toml: str, format: str, path: str, names: Sequence[str] = (), second: str = "", **choices: Any
) -> Made:
    """The figures of localizers (or of checkers of solutions) on labelled logs."""
    config = _configured(folder, toml)
    logs = labelled.read(format, folder / path)
    chosen = evaluation.Choices(tuple(names), **choices)
    file = folder / second
    annotator = labelled.annotator_of(file, root_causes(file)[0], logs) if second else None
    planned = evaluation.plan(config, logs.cases, chosen, sound=format == "process-bench")
    report = evaluation.evaluate(planned, annotator=annotator)
    notes = [{"note": note} for note in report.notes]
    return {"figures": report.figures, "differences": report.differences, "notes": notes}


def looped(folder: Path, toml: str, *sets: str) -> Made:
    """The iterations that a loop would run: their names, seeds, tasks, and what is annotated in them."""
    rounds = loop.plan(_configured(folder, toml, *sets))
    return {
        "rounds": [
            {
                "number": one.number, "run": one.config.run.name, "seed": one.config.run.seed,
                "offset": one.config.tasks.offset, "limit": one.config.tasks.limit, "out": str(one.out),
                "solo": one.config.sample.solo, "on": one.config.annotate.on,
                "localizer": one.config.failures.localizer, "alternatives": one.config.failures.alternatives,
                "rules": rules_of(one.config),
            }
            for one in rounds
        ]
    }  # fmt: skip


def viewed(folder: Path, toml: str) -> Made:
    """The views that SQL offers over the store, one table each."""
    root = _configured(folder, toml).store_root
    names = [row["name"] for row in query(root, "SHOW TABLES").to_pylist()]
    return {name: query(root, f'SELECT * FROM "{name}" ORDER BY ALL') for name in names if name not in TABLES}


def problems(folder: Path, toml: str) -> Made:
    """What `runs verify` finds wrong with each run: nothing, or the steps before are not worth recording."""
    store = Store(_configured(folder, toml).store_root)
    runs = [info.run_id for info in store.runs()]
    return {"runs": [{"run": run, "problems": [str(one) for one in store.verify(run)]} for run in runs]}


def _configured(folder: Path, toml: str, *sets: str) -> Config:
    return load_config(folder / f"{toml}.toml", sets)


def _manifest(config: Config, run: str) -> dict[str, Any]:
    """What of a manifest is made of the run's inputs: not its time, and not the paths of this machine."""
    manifest = Store(config.store_root).manifest(run) or {}
    return {"run_id": run} | {key: manifest.get(key) for key in ("kind", "format", "spec", "rules", "topology")}


def _launch(job: Job, progress: Any = None) -> None:
    """The trainer's place: the same files, other weights, one line of log."""
    out = Path(job.out)
    shutil.copytree(job.model, out)
    (out / "model.safetensors").write_text(f"trained by {job.kind}")
    (out / "apportion.json").write_text(json.dumps(job.provenance))
    (out / "job.json").write_text(job.to_json())
    shutil.copy(job.data, out / "data.parquet")
    line = {"trainer": job.kind, "iteration": job.iteration, "step": 0, "metric": "loss", "value": 0.5}
    schema = TABLES["training_log"].schema
    pq.write_table(TABLES["training_log"].from_rows([line]).select([n for n in schema.names if n != "job"]), job.log)


def _told(told: dict[str, Any]) -> dict[str, Any]:
    """A job without its places in the file system, which are named after what is recorded of it anyway."""
    return {key: value for key, value in told.items() if key not in ("model", "data", "out", "log")}
