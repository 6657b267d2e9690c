"""Stage: failed trajectories -> step scores, first errors, repairs and preference pairs, shard by shard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from apportion import schemas
from apportion.pipeline.core.config import Config
from apportion.pipeline.core.frames import frame
from apportion.pipeline.core.ids import digest
from apportion.pipeline.core.progress import watcher
from apportion.pipeline.engines import running
from apportion.pipeline.engines.checkpoints import fingerprint, resolve_dtype, resolve_model
from apportion.pipeline.engines.policy import policy_of
from apportion.pipeline.localizers import monte_carlo, value_drop
from apportion.pipeline.localizers.first_error import VERSION as FIRST_ERROR_VERSION
from apportion.pipeline.localizers.first_error import change_point, first_fall
from apportion.pipeline.localizers.learned import NAME as LEARNED
from apportion.pipeline.localizers.learned import shipped, weights_fingerprint
from apportion.pipeline.localizers.located import VERSION as READING_VERSION
from apportion.pipeline.localizers.located import Located, turns_to_blame
from apportion.pipeline.play.branch import branch
from apportion.pipeline.play.continuation import Bench, check_conditions, logs_of
from apportion.pipeline.play.play import Played, Rollout, message_rows
from apportion.pipeline.repair import repair
from apportion.pipeline.repair.pairs import pairs
from apportion.pipeline.repair.repair import Alternative
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.common import ALGORITHM_VERSION, writer
from apportion.pipeline.stages.credit import SPOKEN
from apportion.pipeline.trajectory.case import case_of
from apportion.pipeline.trajectory.log import Log

TABLES = ("trajectories", "messages", "steps", "localizations", "repairs", "rejects", "preferences")
_PLACE = "trajectory "


@dataclass(frozen=True)
class Shard:
    """The failures of one shard of trajectories, looked at in one way: by a localizer, or beside winning siblings."""

    source: str
    kind: str
    fingerprint: str
    imported: bool

    @property
    def name(self) -> str:
        return f"failures-{self.kind}-{self.source}"


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
        """The shards that do not stand yet, or that leave out a failure that is asked for."""
        return tuple(
            s
            for s in self.shards
            if (done := _done(self, s)) is None or _asked_for(self, s, failures_of(self, s.source)) - done
        )


@dataclass(frozen=True)
class Failures:
    """The failures of a shard, one of every task first, and the successes of each group."""

    logs: tuple[Log, ...]
    won: Mapping[str, Sequence[Log]]

    def beside(self, log: Log) -> Alternative | None:
        """What a winning sibling wrote where it parts from `log`."""
        return repair.siblings(log, self.won.get(log.trajectory["group_id"], ()))


def plan(config: Config, run: str) -> FailurePlan:
    """Find the shards whose failures are looked at; refuse to repair under other conditions than the run's own."""
    store, section = Store(config.store_root), config.failures
    path = resolve_model(config.model.path, data_root=config.data_root, hub=config.model.hub)
    scorer = digest([*fingerprint(path), resolve_dtype(config.model.dtype)])
    policy_id, _ = policy_of(config)
    names = [shard.stem.removeprefix("part-") for shard in store.shards("trajectories", run)]
    names = [name for name in names if name.startswith(SPOKEN)] if section.localizer != "none" else []
    if any(name.startswith("sampled-") for name in names):
        check_conditions(config, run, policy_id, "a repair", "failures.localizer=none")
    told = section.model_dump(mode="json", exclude={"limit", "localizer", "contrast"})
    shards = []
    for name in names:
        imported = name.startswith("imported-")
        localizer = LEARNED if imported and section.localizer == monte_carlo.NAME else section.localizer
        source = store.shard_fingerprint("trajectories", run, name)
        for kind in (localizer, repair.SIBLING) if section.contrast and not imported else (localizer,):
            spec = [ALGORITHM_VERSION, FIRST_ERROR_VERSION, told, config.sampling(), source]
            if kind in (value_drop.NAME, LEARNED):
                spec += [scorer, config.annotate.cue, config.model.max_model_len]
            if kind == LEARNED:
                spec += [weights_fingerprint(), _everywhere(config)]
            if imported:
                spec.append(READING_VERSION)
            shards.append(Shard(name, kind, digest(spec), imported))
    return FailurePlan(config, run, scorer, policy_id, tuple(shards))


def failures_of(plan: FailurePlan, source: str) -> Failures:
    """All failures of a shard of trajectories. A rollout that a tool's fault broke off has no verdict, and is none."""
    found: list[Log] = []
    won: dict[str, list[Log]] = defaultdict(list)
    for log in logs_of(Store(plan.config.store_root), plan.run, source):
        if log.trajectory["success"]:
            won[log.trajectory["group_id"]].append(log)
        elif log.turns and log.trajectory["success"] is not None:
            found.append(log)
    seen: dict[str, int] = defaultdict(int)
    order: list[tuple[int, int]] = []
    for log in found:
        order.append((seen[log.task.task_id], len(order)))
        seen[log.task.task_id] += 1
    return Failures(tuple(found[i] for _, i in sorted(order)), won)


def wanted_of(plan: FailurePlan, shard: Shard, found: Failures) -> list[Log]:
    """The failures that the configuration asks for."""
    wanted = _asked_for(plan, shard, found)
    return [log for log in found.logs if log.trajectory_id in wanted]


def _asked_for(plan: FailurePlan, shard: Shard, found: Failures) -> set[str]:
    """Ids of the failures that the configuration asks for."""
    logs = found.logs[: plan.config.failures.limit]
    return {log.trajectory_id for log in logs if shard.kind != repair.SIBLING or found.beside(log)}


def _done(plan: FailurePlan, shard: Shard) -> set[str] | None:
    """Ids of the failures looked at or set aside; None where the shard does not stand."""
    store = Store(plan.config.store_root)
    if not store.shard_stands(plan.run, shard.name, shard.fingerprint, TABLES):
        return None
    table = "repairs" if shard.kind == repair.SIBLING else "localizations"
    looked = store.read(table, plan.run, shard.name, columns=["trajectory_id"])["trajectory_id"].to_pylist()
    aside = store.read("rejects", plan.run, shard.name, columns=["file"])["file"].to_pylist()
    return {*looked, *(place.removeprefix(_PLACE) for place in aside)}


def cost(plan: FailurePlan) -> dict[str, int]:
    """Of the pending shards: failures, those of which nothing will be said since they are unlike what the ranker
    learned from, their prefixes, and the most continuations that will be sampled."""
    section = plan.config.failures
    total = {"failures": 0, "unlike": 0, "prefixes": 0, "continuations": 0}
    for shard in plan.pending:
        logs = wanted_of(plan, shard, failures_of(plan, shard.source))
        if shard.kind == repair.SIBLING:
            total["continuations"] += 2 * section.confirmations * len(logs)
            continue
        turns = sum(len(log.turns) for log in logs)
        total["failures"] += len(logs)
        total["prefixes"] += turns + len(logs)
        if shard.kind == LEARNED and not _everywhere(plan.config):
            ranker = shipped()
            total["unlike"] += sum(not ranker.speaks_of(case_of(log)) for log in logs)
        if shard.imported:
            continue
        total["continuations"] += section.rollouts * turns if shard.kind == monte_carlo.NAME else 0
        if section.alternatives:
            total["continuations"] += len(logs) * (
                section.alternatives + section.confirmations * (repair.MOST_WINNERS + 1)
            )
    return total


def run_shard(plan: FailurePlan, shard: Shard) -> int:
    """Work through the failures of one shard and commit its tables, preferences last. Returns the failures looked at.

    Failures looked at before stay: a narrower choice loses nothing.
    """
    config, store = plan.config, Store(plan.config.store_root)
    found = failures_of(plan, shard.source)
    wanted = _asked_for(plan, shard, found) | (_done(plan, shard) or set())
    logs = [log for log in found.logs if log.trajectory_id in wanted]
    bench = Bench.open(config) if logs and not shard.imported else None
    rejects: list[dict[str, Any]] = []
    located: list[Located] = []
    repairs: list[Alternative] = []
    if bench and shard.kind == repair.SIBLING:
        repairs = settled(bench, [one for log in logs if (one := found.beside(log))], shard.kind)
    elif bench and shard.kind == monte_carlo.NAME:
        located = by_continuing(bench, logs)
    elif logs:
        located = by_reading(logs, _everywhere(config)) if shard.kind == LEARNED else by_value(config, logs, rejects)
    if bench and located:
        repairs = settled(bench, proposed(bench, located, shard.kind, config.failures.alternatives), shard.kind)
    write = writer(store, plan.run, shard.name, shard.fingerprint)
    played = bench.played if bench else []
    write("trajectories", [{**row, "batch_index": None} for _, row in played])
    write("messages", [row for one, _ in played for row in message_rows(one, config.sample, plan.policy_id)])
    scorers = {value_drop.NAME: plan.scorer, monte_carlo.NAME: plan.policy_id}
    write("steps", [row for one in located for row in one.steps(scorers.get(one.by))])
    write("localizations", [one.row() for one in located])
    rows_of_repairs = [one.row(plan.policy_id) for one in repairs]
    write("repairs", rows_of_repairs)
    write("rejects", rejects)
    store.write_shard(
        "preferences", plan.run, shard.name, _pairs(plan, shard, logs, rows_of_repairs), shard.fingerprint
    )
    return 0 if shard.kind == repair.SIBLING else len(logs)


def _everywhere(config: Config) -> bool:
    """Whether the ranker was asked for by name; else it speaks of logs like its own alone."""
    return config.failures.localizer == LEARNED


def by_reading(logs: Sequence[Log], everywhere: bool) -> list[Located]:
    """Locate by the ranker that comes with the project, no model asked: see `Located.read`."""
    cases = [case_of(log) for log in logs]
    verdicts = shipped().judge(cases)
    return [Located.read(*one, everywhere) for one in zip(logs, cases, verdicts, strict=True)]


def by_value(config: Config, logs: Sequence[Log], rejects: list[dict[str, Any]]) -> list[Located]:
    """Locate by the fall of the reference's likelihood; logs that cannot be scored are set aside."""
    engine = running.engine_for(config.model, config.data_root)
    engine.reset_prefix_cache()
    asked, kept = [], []
    for log in logs:
        try:
            asked.append(value_drop.requests(log, engine.tokenizer, config.annotate.cue, config.model.max_model_len))
            kept.append(log)
        except ValueError as error:
            rejects.append(
                {"stage": "failures", "file": f"{_PLACE}{log.trajectory_id}", "line": 0, "reason": str(error)}
            )
    done = watcher().start("prefixes of failures", sum(map(len, asked)))
    found = value_drop.values(asked, engine, done)
    return [
        Located.at(first_fall(values, config.failures.margin, turns_to_blame(log)), log, value_drop.NAME, values)
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
        won, of = monte_carlo.counts(log, k, [success for _, success in mine])
        error = change_point(won, of, bench.config.failures.margin)
        tried = mine[error.turn * k : (error.turn + 1) * k] if error else []
        shares = [count / verdicts if verdicts else None for count, verdicts in zip(won, of, strict=True)]
        located.append(Located.at(error, log, monte_carlo.NAME, [*shares, 0.0], tried=tried))
    return located


def settled(bench: Bench, found: Sequence[Alternative], kind: str) -> list[Alternative]:
    """`found`, the winners among them with their confirmations and baselines."""
    section, seed = bench.config.failures, bench.config.run.seed
    grouped: dict[str, list[Alternative]] = defaultdict(list)
    for one in found:
        grouped[one.log.trajectory_id].append(one)
    selected = [one for some in grouped.values() for one in repair.winners(some)]
    asked = repair.confirmations(selected, section.confirmations, seed, kind)
    verdicts = (success for _, success in bench.judge(f"confirmations ({kind})", asked)) if asked else iter(())
    chosen = repair.confirmed(selected, section.confirmations, verdicts)
    done = {(one.log.trajectory_id, one.number): one for one in chosen}
    return [done.get((one.log.trajectory_id, one.number), one) for one in found]


def proposed(bench: Bench, located: Sequence[Located], proposal: str, number: int) -> list[Alternative]:
    """`number` alternatives at every located step, each continued to the end; continuations at hand count."""
    seed = bench.config.run.seed
    if not number:
        return []
    asked: list[list[Rollout]] = [
        [branch(one.log, one.step, f"alternative {proposal}", n, seed) for n in range(len(one.tried), number)]
        if one.step is not None
        else []
        for one in located
    ]
    judged: Iterator[tuple[Played, bool | None]] = iter(())
    if any(asked):
        judged = iter(bench.judge("alternatives", [one for some in asked for one in some]))
    found: list[Alternative] = []
    for one, some in zip(located, asked, strict=True):
        if one.step is not None:
            mine = [*one.tried, *(next(judged) for _ in some)]
            found += repair.alternatives(one.log, one.step, proposal, mine)
    return found


def _pairs(plan: FailurePlan, shard: Shard, logs: Sequence[Log], repairs: Sequence[dict[str, Any]]) -> pa.Table:
    """The rows of `preferences`: every pair that the confirmed repairs make. Who uses them cleans and splits them."""
    if not repairs:
        return schemas.TABLES["preferences"].from_rows([])
    tasks = frame(Store(plan.config.store_root).read("tasks", plan.run))
    messages = schemas.TABLES["messages"].from_rows([dict(row) for log in logs for row in log.messages])
    trajectories = pl.DataFrame([{"trajectory_id": log.trajectory_id, "task_id": log.task.task_id} for log in logs])
    made = pairs(frame(schemas.TABLES["repairs"].from_rows(repairs)), frame(messages), trajectories, tasks)
    names = [f"x{digest([pair, shard.name])}" for pair in made["pair_id"]]  # the same pair may come from elsewhere too
    return made.with_columns(pair_id=pl.Series(names, dtype=pl.String)).to_arrow()
