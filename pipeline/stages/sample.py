"""Stage: tasks -> trajectories and messages, shard by shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from apportion import schemas
from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest, file_digest
from apportion.pipeline.core.progress import watcher
from apportion.pipeline.engines import running
from apportion.pipeline.engines.checkpoints import check_window, fingerprint, provenance, resolve_model
from apportion.pipeline.play.play import Played, Rollout, message_rows, play, rollouts, trajectory_row
from apportion.pipeline.play.team import Team, load_team, nature_of
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.common import ALGORITHM_VERSION
from apportion.pipeline.tasks.base import tasks_of
from apportion.pipeline.tasks.reading.files import load_tasks
from apportion.pipeline.trajectory.task import Reject, Task, task_row
from apportion.pipeline.verifiers import get_verifier

TABLES = ("messages", "trajectories")


@dataclass(frozen=True)
class Shard:
    """Rollouts that advance together and are committed together."""

    name: str
    number: int
    rollouts: tuple[Rollout, ...]
    fingerprint: str


@dataclass(frozen=True)
class SamplePlan:
    """What `sample` would do: all of it known before a model is loaded."""

    config: Config
    team: Team
    solo: Team
    tasks: tuple[Task, ...]
    rejects: tuple[Reject, ...]
    policy_id: str
    policy: dict[str, Any]
    rules: str
    """Digest of what a rollout is played by: team, decoding, verifier, documents, seed."""
    spec: str
    """Digest of all that the rows depend on: configuration, tasks, documents, policy, seed."""
    shards: tuple[Shard, ...]

    @property
    def pending(self) -> tuple[Shard, ...]:
        """The shards that do not stand yet."""
        store, run = Store(self.config.store_root), self.config.run_id
        return tuple(s for s in self.shards if not store.shard_stands(run, s.name, s.fingerprint, TABLES))

    @property
    def most_tokens(self) -> int:
        """The most tokens that the pending shards generate if no turn calls more than one helper."""
        turns, tokens = self.config.team.max_turns, self.config.sample.max_tokens
        alone = sum(len(s.rollouts) for s in self.pending if s.rollouts[0].origin == "solo")
        teams = sum(len(s.rollouts) for s in self.pending) - alone
        return (alone * turns + teams * turns * (1 + turns)) * tokens


def gather_tasks(config: Config) -> tuple[list[Task], list[Reject]]:
    """The tasks that the configuration names. Raises UserError when there are none."""
    section = config.tasks
    if section.source:
        tasks = tasks_of(section.source, section.options)
        return tasks[section.offset :][: section.limit], []
    if not section.path:
        raise UserError("config: tasks.path is empty; name a task file: --set tasks.path=FILE.jsonl")
    most = None if section.limit is None else section.offset + section.limit
    tasks, rejects = load_tasks(
        section.path, split=section.split, question=section.question, answer=section.answer, limit=most,
        hub=section.hub,
    )  # fmt: skip
    if section.offset >= len(tasks):
        raise UserError(f"config: tasks.offset = {section.offset}: {section.path} has {len(tasks)} tasks")
    return tasks[section.offset :], rejects


def plan(config: Config) -> SamplePlan:
    """Check everything that can be checked without the engine, and cut the work into shards."""
    team, solo = load_team(config.team)
    get_verifier(config.tasks.verifier, **config.tasks.verifier_options)
    tasks, rejects = gather_tasks(config)
    policy_id, policy = policy_of(config)
    rules = rules_of(config)
    spec = digest([rules, policy_id, [task.task_id for task in tasks]])
    shards = []
    origins = [("sampled", team)] + ([("solo", solo)] if config.sample.solo else [])
    for origin, _ in origins:
        every = rollouts(tasks, config.sample, config.run.seed, policy_id, rules, origin)
        step = max(1, config.sample.shard_size // config.sample.group_size) * config.sample.group_size
        for number, start in enumerate(range(0, len(every), step)):
            part = tuple(every[start : start + step])
            print_of = digest([ALGORITHM_VERSION, [r.trajectory_id for r in part]])
            shards.append(Shard(f"{origin}-{number:05d}", number, part, print_of))
    return SamplePlan(config, team, solo, tuple(tasks), tuple(rejects), policy_id, policy, rules, spec, tuple(shards))


def rules_of(config: Config) -> str:
    """Digest of what a rollout is played by: team, decoding, verifier, documents, seed."""
    documents = sorted({file for tool in config.team.tools.values() for file in _files(tool.documents)})
    try:
        return digest([config.sampling(), [file_digest(Path(file)) for file in documents]])
    except OSError as error:
        raise UserError(f"{error.filename}: the document file cannot be read ({error.strerror})") from error


def policy_of(config: Config) -> tuple[str, dict[str, Any]]:
    """Id and row of the policy that the configuration names; a trained checkpoint tells what it came from."""
    path = resolve_model(config.model.path, data_root=config.data_root, hub=config.model.hub)
    check_window(path, config.model.max_model_len)
    weights, tokenizer = fingerprint(path)
    row = {
        "base": config.as_written(config.model.path),
        "weights_digest": weights,
        "tokenizer_digest": tokenizer,
        "version": 0,
    }
    return "p" + digest([weights, tokenizer]), {**row, **provenance(path)}


def prepare(plan: SamplePlan) -> None:
    """Write the run's manifest, tasks, policy and rejects; refuse a run whose configuration was another.

    The engine is started first: where that fails, no run is left behind in which nothing was sampled.
    """
    config, store = plan.config, Store(plan.config.store_root)
    run = config.run_id
    shards = [shard.name for shard in plan.shards]
    told = config.to_store()
    topology = {"path": config.sampling()["team"]["topology"], **asdict(nature_of(plan.team.topology))}
    manifest = {
        "kind": "sample", "spec": plan.spec, "rules": plan.rules, "shards": shards, "config": told,
        "topology": topology,
    }  # fmt: skip
    claimed(store, run, plan.spec)
    if plan.pending:
        running.engine_for(config.model, config.data_root)
    claim(store, run, manifest)
    store.sweep(run)
    write = writer(store, run, "00000", digest([ALGORITHM_VERSION, plan.spec]))
    write("tasks", [task_row(task) | {"source": config.as_written(task.source)} for task in plan.tasks])
    write("policies", [{"policy_id": plan.policy_id, **plan.policy}])
    write("rejects", [reject_row(reject, "tasks") for reject in plan.rejects])


def claim(store: Store, run: str, manifest: dict[str, Any]) -> None:
    """Bind the run's name to what it is made of; refuse a name that is bound to something else."""
    if not claimed(store, run, manifest["spec"]):
        store.write_manifest(run, manifest)


def claimed(store: Store, run: str, spec: str) -> bool:
    """Whether the run's name is bound already, to this; UserError where it is bound to something else."""
    old = store.manifest(run)
    if old and old.get("spec") != spec:
        raise UserError(
            f"run {run!r} exists and was made from another configuration, tasks or logs; give this one a name of its "
            f"own (--set run.name=NAME), remove the old one (apportion runs remove {run}), or repeat it as it was"
        )
    return old is not None


def _files(documents: str | list[str]) -> list[str]:
    return [documents] if isinstance(documents, str) else documents


def run_shard(plan: SamplePlan, shard: Shard) -> list[Played]:
    """Sample one shard and commit it: messages first, trajectories last. The cache starts empty."""
    config = plan.config
    engine = running.engine_for(config.model, config.data_root)
    engine.reset_prefix_cache()
    solo = shard.rollouts[0].origin == "solo"
    team = plan.solo if solo else plan.team
    done = watcher().start(f"sampling {shard.name}", len(shard.rollouts))
    played = play(engine, team, shard.rollouts, config.sample, done)
    verifier = get_verifier(config.tasks.verifier, **config.tasks.verifier_options)
    write = writer(Store(config.store_root), config.run_id, shard.name, shard.fingerprint)
    write("messages", [row for one in played for row in message_rows(one, config.sample, plan.policy_id)])
    write(
        "trajectories",
        [trajectory_row(one, verifier, shard.number, config.tasks.verifier) for one in played],
    )
    return played


def writer(store: Store, run: str, shard: str, fingerprint: str) -> Any:
    def write(table: str, data: Sequence[dict[str, Any]]) -> None:
        store.write_shard(table, run, shard, schemas.TABLES[table].from_rows(data), fingerprint)

    return write


def reject_row(reject: Reject, stage: str) -> dict[str, Any]:
    return {
        "stage": stage,
        "file": reject.source,
        "line": reject.line,
        "reason": reject.reason,
        "raw": reject.text,
    }
