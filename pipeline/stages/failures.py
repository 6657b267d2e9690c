"""Stage: failed trajectories -> step scores, first errors, repairs and preference pairs, shard by shard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

import schemas
from pipeline.config import Config
from pipeline.engines.base import Engine
from pipeline.errors import UserError
from pipeline.failures import monte_carlo, repair, value_drop
from pipeline.failures.first_error import FirstError, change_point, first_fall
from pipeline.failures.hygiene import clean, with_split
from pipeline.failures.log import Log, branch
from pipeline.failures.pairs import pairs
from pipeline.failures.repair import Alternative
from pipeline.ids import digest
from pipeline.models import fingerprint, resolve_dtype, resolve_model
from pipeline.sampling import Played, Rollout, message_rows, play, trajectory_row
from pipeline.stages.annotate import SPOKEN
from pipeline.stages.common import ALGORITHM_VERSION, engine_for, frame, rows, watcher
from pipeline.stages.sample import policy_of, writer
from pipeline.store import Store
from pipeline.tasks.task import Task
from pipeline.teams.load import Team, load_team
from pipeline.verifiers import get_verifier

TABLES = ("trajectories", "messages", "steps", "localizations", "repairs", "rejects", "preferences")


@dataclass(frozen=True)
class Shard:
    """The failures of one shard of trajectories."""

    source: str
    name: str
    fingerprint: str
    imported: bool


@dataclass(frozen=True)
class FailurePlan:
    """What the failure branch would do."""

    config: Config
    run: str
    scorer: str
    policy_id: str
    shards: tuple[Shard, ...]

    @property
    def pending(self) -> tuple[Shard, ...]:
        """The shards that do not stand yet."""
        store = Store(self.config.store_root)
        return tuple(s for s in self.shards if not store.shard_stands(self.run, s.name, s.fingerprint, TABLES))


@dataclass(frozen=True)
class Located:
    """A failure with the values of its prefixes and what was made of them."""

    log: Log
    values: Sequence[float]
    error: FirstError | None
    tried: Sequence[tuple[Played, bool]] = ()
    """Continuations that rewrote the wrong step, with their verdicts."""

    @property
    def step(self) -> int | None:
        return self.log.turns[self.error.turn] if self.error else None


def plan(config: Config, run: str) -> FailurePlan:
    """Find the shards whose failures are looked at; refuse a model that is not the run's own policy."""
    store = Store(config.store_root)
    path = resolve_model(config.model.path, data_root=config.data_root, hub=config.model.hub)
    scorer = digest([*fingerprint(path), resolve_dtype(config.model.dtype)])
    policy_id, _ = policy_of(config)
    section = config.failures.model_dump(mode="json")
    splits = config.export.model_dump(mode="json")
    spec = digest([section, scorer, config.annotate.cue, config.model.max_model_len, config.sampling(), splits])
    shards = []
    for shard in store.shards("trajectories", run) if config.failures.localizer != "none" else []:
        name = shard.stem.removeprefix("part-")
        if not name.startswith(SPOKEN):
            continue
        source = store.shard_fingerprint("trajectories", run, name)
        print_of = digest([ALGORITHM_VERSION, spec, source])
        shards.append(Shard(name, f"failures-{name}", print_of, name.startswith("imported-")))
    if any(not shard.imported for shard in shards):
        wrote = store.read("policies", run, columns=["policy_id"])["policy_id"].to_pylist()
        if policy_id not in wrote:
            raise UserError(
                f"model.path = {config.model.path!r} did not sample run {run!r}: a repair is written by the same "
                "policy; leave model.path as it was, or set failures.localizer=none"
            )
    return FailurePlan(config, run, scorer, policy_id, tuple(shards))


def failures_of(plan: FailurePlan, shard: Shard) -> tuple[list[Log], dict[str, list[Log]]]:
    """The failures to look at (one of every task first), and the successes of each group."""
    store = Store(plan.config.store_root)
    tasks = {row["task_id"]: _task(row) for row in rows(store.read("tasks", plan.run))}
    messages: dict[str, list[dict[str, Any]]] = defaultdict(list)
    table = store.read("messages", plan.run, shard.source).drop_columns("run_id")
    for row in rows(table.sort_by([("trajectory_id", "ascending"), ("message_index", "ascending")])):
        messages[row["trajectory_id"]].append(row)
    found: list[Log] = []
    won: dict[str, list[Log]] = defaultdict(list)
    for row in rows(store.read("trajectories", plan.run, shard.source)):
        log = Log(row, messages[row["trajectory_id"]], tasks[row["task_id"]])
        if row["success"]:
            won[row["group_id"]].append(log)
        elif log.turns:
            found.append(log)
    seen: dict[str, int] = defaultdict(int)
    order: list[tuple[int, int]] = []
    for log in found:
        order.append((seen[log.task.task_id], len(order)))
        seen[log.task.task_id] += 1
    return [found[i] for _, i in sorted(order)][: plan.config.failures.limit], won


def cost(plan: FailurePlan) -> dict[str, int]:
    """Of the pending shards: failures, their prefixes, and the most continuations that will be sampled."""
    section = plan.config.failures
    total = {"failures": 0, "prefixes": 0, "continuations": 0}
    for shard in plan.pending:
        logs, _ = failures_of(plan, shard)
        turns = sum(len(log.turns) for log in logs)
        total["failures"] += len(logs)
        total["prefixes"] += turns + len(logs)
        if shard.imported:
            continue
        sampled = section.rollouts * turns if section.localizer == monte_carlo.NAME else 0
        fresh = section.alternatives + section.confirmations * (repair.MOST_WINNERS + 1)
        total["continuations"] += sampled + len(logs) * (fresh + 2 * section.confirmations * section.contrast)
    return total


def run_shard(plan: FailurePlan, shard: Shard) -> int:
    """Work through the failures of one shard and commit its tables, preferences last. Returns the failures seen."""
    config = plan.config
    logs, won = failures_of(plan, shard)
    bench = Bench.open(config) if logs else None
    rejects: list[dict[str, Any]] = []
    located: list[Located] = []
    repairs: list[Alternative] = []
    if bench and (shard.imported or config.failures.localizer == value_drop.NAME):
        located = by_value(bench, logs, rejects)
    elif bench:
        located = by_continuing(bench, logs)
    if bench and not shard.imported:
        repairs = repaired(bench, located, won)
    store = Store(config.store_root)
    write = writer(store, plan.run, shard.name, shard.fingerprint)
    played = bench.played if bench else []
    write("trajectories", [{**row, "batch_index": None} for _, row in played])
    write("messages", [row for one, _ in played for row in message_rows(one, config.sample, plan.policy_id)])
    name = value_drop.NAME if shard.imported else config.failures.localizer
    scorer = plan.scorer if name == value_drop.NAME else plan.policy_id
    write("steps", [row for one in located for row in step_rows(one, name, scorer)])
    write("localizations", [localization_row(one, name) for one in located])
    found = [one.row(plan.policy_id) for one in repairs]
    write("repairs", found)
    write("rejects", rejects)
    store.write_shard("preferences", plan.run, shard.name, _pairs(plan, logs, found), shard.fingerprint)
    return len(logs)


@dataclass
class Bench:
    """Where continuations are played and judged; it keeps every one with its row of `trajectories`."""

    config: Config
    engine: Engine
    team: Team
    played: list[tuple[Played, dict[str, Any]]]

    @classmethod
    def open(cls, config: Config) -> Bench:
        """With the engine of this process and an empty cache."""
        engine = engine_for(config.model, config.data_root)
        engine.reset_prefix_cache()
        team = load_team(config.team)[0] if config.team.agents else None
        return cls(config, engine, team, [])  # type: ignore[arg-type]

    def judge(self, name: str, asked: Sequence[Rollout]) -> list[tuple[Played, bool]]:
        """Play continuations to their end, all together, and verify them."""
        done = watcher().start(name, len(asked))
        verifier = get_verifier(self.config.tasks.verifier)
        result = []
        for one in play(self.engine, self.team, asked, self.config.sample, done):
            row = trajectory_row(one, verifier, 0, self.config.tasks.verifier)
            self.played.append((one, row))
            result.append((one, bool(row["success"])))
        return result


def by_value(bench: Bench, logs: Sequence[Log], rejects: list[dict[str, Any]]) -> list[Located]:
    """Locate by the fall of the reference's likelihood; logs that cannot be scored are set aside."""
    config = bench.config
    asked, kept = [], []
    for log in logs:
        try:
            asked.append(
                value_drop.requests(log, bench.engine.tokenizer, config.annotate.cue, config.model.max_model_len)
            )
            kept.append(log)
        except ValueError as error:
            rejects.append(
                {"stage": "failures", "file": f"trajectory {log.trajectory_id}", "line": 0, "reason": str(error)}
            )
    done = watcher().start("prefixes of failures", sum(map(len, asked)))
    found = value_drop.values(asked, bench.engine, done)
    return [
        Located(log, values, first_fall(values, config.failures.margin))
        for log, values in zip(kept, found, strict=True)
    ]


def by_continuing(bench: Bench, logs: Sequence[Log]) -> list[Located]:
    """Locate by Monte Carlo continuations of every prefix; those that rewrote the wrong step are kept beside it."""
    k, seed = bench.config.failures.rollouts, bench.config.run.seed
    asked = [monte_carlo.rollouts(log, k, seed) for log in logs]
    judged = iter(bench.judge("continuations of failures", [one for some in asked for one in some]))
    located = []
    for log, some in zip(logs, asked, strict=True):
        mine = [next(judged) for _ in some]
        won = monte_carlo.counts(log, k, [success for _, success in mine])
        error = change_point(won, [k] * len(won), bench.config.failures.margin)
        tried = mine[error.turn * k : (error.turn + 1) * k] if error else []
        located.append(Located(log, [count / k for count in won], error, tried))
    return located


def repaired(bench: Bench, located: Sequence[Located], won: dict[str, list[Log]]) -> list[Alternative]:
    """Alternatives at the located steps and from winning siblings; the winners with their confirmations."""
    config = bench.config.failures
    seed = bench.config.run.seed
    found = proposed(bench, located, config.localizer, config.alternatives)
    if config.contrast:
        near = (repair.siblings(one.log, won.get(one.log.trajectory["group_id"], [])) for one in located)
        found += [one for one in near if one]
    grouped: dict[tuple[str, str], list[Alternative]] = defaultdict(list)
    for one in found:
        grouped[one.log.trajectory_id, one.proposal].append(one)
    selected = [one for some in grouped.values() for one in repair.winners(some)]
    asked = repair.confirmations(selected, config.confirmations, seed)
    verdicts = (success for _, success in bench.judge("confirmations of repairs", asked))
    chosen = repair.confirmed(selected, config.confirmations, verdicts)
    done = {(one.log.trajectory_id, one.proposal, one.number): one for one in chosen}
    return [done.get((one.log.trajectory_id, one.proposal, one.number), one) for one in found]


def proposed(bench: Bench, located: Sequence[Located], proposal: str, number: int) -> list[Alternative]:
    """`number` alternatives at every located step, each continued to the end; continuations at hand count."""
    seed = bench.config.run.seed
    asked: list[list[Rollout]] = [
        [branch(one.log, one.step, f"alternative {proposal}", n, seed) for n in range(len(one.tried), number)]
        if one.step is not None
        else []
        for one in located
    ]
    judged: Iterator[tuple[Played, bool]] = iter(())
    if any(asked):
        judged = iter(bench.judge("alternatives", [one for some in asked for one in some]))
    found: list[Alternative] = []
    for one, some in zip(located, asked, strict=True):
        if one.step is not None:
            mine = [*one.tried, *(next(judged) for _ in some)]
            found += repair.alternatives(one.log, one.step, proposal, mine)
    return found


def step_rows(located: Located, name: str, scorer: str) -> list[dict[str, Any]]:
    """The rows of `steps` of one failure."""
    return [
        {
            "trajectory_id": located.log.trajectory_id,
            "message_index": turn,
            "agent": located.log.messages[turn]["agent"],
            "prm": name,
            "scorer": scorer,
            "value_before": before,
            "value_after": after,
            "score": after - before,
        }
        for turn, before, after in zip(located.log.turns, located.values, located.values[1:], strict=False)
    ]


def localization_row(located: Located, name: str) -> dict[str, Any]:
    """The row of `localizations` of one failure."""
    speaker = None if located.step is None else located.log.messages[located.step]["agent"]
    return {
        "trajectory_id": located.log.trajectory_id,
        "localizer": name,
        "target": "decisive" if name == monte_carlo.NAME else "first_wrong",
        "first_error": located.step,
        "agent": speaker,
        "speaker": speaker,
        "confidence": located.error.fall if located.error else None,
    }


def _pairs(plan: FailurePlan, logs: Sequence[Log], repairs: Sequence[dict[str, Any]]) -> pa.Table:
    """The rows of `preferences`: clean pairs out of the confirmed repairs, split by question over the whole run."""
    if not repairs:
        return schemas.TABLES["preferences"].from_rows([])
    tasks = frame(Store(plan.config.store_root).read("tasks", plan.run))
    messages = schemas.TABLES["messages"].from_rows([dict(row) for log in logs for row in log.messages])
    trajectories = pl.DataFrame([{"trajectory_id": log.trajectory_id, "task_id": log.task.task_id} for log in logs])
    made = pairs(frame(schemas.TABLES["repairs"].from_rows(repairs)), frame(messages), trajectories, tasks)
    section = plan.config.export
    return with_split(clean(made, tasks).pairs, tasks, validation=section.validation, test=section.test).to_arrow()


def _task(row: dict[str, Any]) -> Task:
    import json

    meta = json.loads(row["meta"]) if row["meta"] else {}
    return Task(row["task_id"], row["source"], row["split"] or "", row["question"], tuple(row["references"]), meta)
