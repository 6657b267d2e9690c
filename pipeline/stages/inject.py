"""Stage: successes of a run -> the same runs with one planted error each, continued to the end, shard by shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest
from apportion.pipeline.engines.policy import policy_of
from apportion.pipeline.faults.faults import Fault, faults, pool
from apportion.pipeline.play.branch import branch
from apportion.pipeline.play.continuation import Bench, check_conditions, logs_of
from apportion.pipeline.play.play import message_rows
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.common import ALGORITHM_VERSION, writer
from apportion.pipeline.trajectory.log import Log

TABLES = ("messages", "trajectories")
PREFIX = "inject-"
"""No stage takes these shards for rollouts of the team's own: see `SPOKEN` of the annotate stage."""


@dataclass(frozen=True)
class Shard:
    """The successes of one shard of sampled trajectories."""

    source: str
    fingerprint: str

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.source}"


@dataclass(frozen=True)
class InjectPlan:
    """What `inject` would do."""

    config: Config
    run: str
    policy_id: str
    shards: tuple[Shard, ...]

    @property
    def pending(self) -> tuple[Shard, ...]:
        """The shards that do not stand yet."""
        store = Store(self.config.store_root)
        return tuple(s for s in self.shards if not store.shard_stands(self.run, s.name, s.fingerprint, TABLES))


@dataclass(frozen=True)
class Injected:
    """What came of the faults of one shard: `failed` are labelled failures, `recovered` still succeeded."""

    failed: int
    recovered: int
    undecided: int
    """A fault of a tool or verifier left no verdict."""

    def __add__(self, other: Injected) -> Injected:
        return Injected(self.failed + other.failed, self.recovered + other.recovered, self.undecided + other.undecided)


def plan(config: Config, run: str) -> InjectPlan:
    """Find the run's sampled shards; refuse imported logs and other conditions than the run's own."""
    store = Store(config.store_root)
    names = [path.stem.removeprefix("part-") for path in store.shards("trajectories", run)]
    names = [name for name in names if name.startswith("sampled-")]
    if not names:
        raise UserError(
            f"run {run!r} has no sampled rollouts, and only those can be continued: sample one (apportion sample)"
        )
    policy_id, _ = policy_of(config)
    check_conditions(config, run, policy_id, "a continuation", "--run to a run that it sampled")
    spec = [ALGORITHM_VERSION, config.inject.model_dump(mode="json"), config.sampling()]
    shards = [Shard(name, digest([spec, store.shard_fingerprint("trajectories", run, name)])) for name in names]
    return InjectPlan(config, run, policy_id, tuple(shards))


def planned(plan: InjectPlan, shard: Shard) -> Iterator[tuple[Log, Fault]]:
    """The faults of a shard, success by success. Replacements come from the words of all its trajectories."""
    logs = list(logs_of(Store(plan.config.store_root), plan.run, shard.source))
    names, section = pool(logs), plan.config.inject
    for log in logs:
        if log.trajectory["success"]:
            for fault in faults(log, names, section.kinds, section.each, plan.config.run.seed):
                yield log, fault


def unplanted(plan: InjectPlan) -> tuple[int, dict[str, int]]:
    """How many faults the pending shards would get, and how many of their trajectories get none, by reason."""
    count, why = 0, Counter[str]()
    for shard in plan.pending:
        logs = list(logs_of(Store(plan.config.store_root), plan.run, shard.source))
        found = Counter(log.trajectory_id for log, _ in planned(plan, shard))
        count += found.total()
        verdicts = [log.trajectory["success"] for log in logs]
        why["failed: errors are planted in successes"] += verdicts.count(False)
        why["without a verdict: errors are planted in successes"] += verdicts.count(None)
        barren = [log for log in logs if log.trajectory["success"] and log.trajectory_id not in found]
        why[f"no message that an error of kind {', '.join(plan.config.inject.kinds)} fits into"] += len(barren)
    return count, {reason: number for reason, number in why.items() if number}


def run_shard(plan: InjectPlan, shard: Shard) -> Injected:
    """Plant the faults of one shard, continue all runs together and commit them, trajectories last."""
    found = list(planned(plan, shard))
    seed = plan.config.run.seed
    asked = [
        branch(log, fault.step, f"fault {fault.kind}", number, seed, text=fault.text, origin="injected")
        for number, (log, fault) in enumerate(found)
    ]
    bench = Bench.open(plan.config) if asked else None
    verdicts = [success for _, success in bench.judge("planted faults", asked)] if bench else []
    played = bench.played if bench else []
    write = writer(Store(plan.config.store_root), plan.run, shard.name, shard.fingerprint)
    write("messages", [row for one, _ in played for row in message_rows(one, plan.config.sample, plan.policy_id)])
    write(
        "trajectories",
        [
            {
                **row,
                "rollout_index": 0,
                "batch_index": None,
                "fault_kind": fault.kind,
                "fault_step": fault.step,
                "fault_agent": fault.agent,
            }
            for (_, row), (_, fault) in zip(played, found, strict=True)
        ],
    )
    return Injected(verdicts.count(False), verdicts.count(True), verdicts.count(None))
