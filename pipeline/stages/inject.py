"""Stage: successes of a run -> the same runs with one planted error each, continued to the end, shard by shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest
from apportion.pipeline.faults.faults import Fault, faults, pool
from apportion.pipeline.play.branch import branch
from apportion.pipeline.play.continuation import Bench, check_conditions
from apportion.pipeline.play.play import message_rows
from apportion.pipeline.runs.run import Kind, Run
from apportion.pipeline.stages.common import ALGORITHM_VERSION
from apportion.pipeline.stages.ready import to_continue
from apportion.pipeline.stages.stage import NOTHING, Stage
from apportion.pipeline.trajectory.log import Log


@dataclass(frozen=True)
class Shard:
    """The successes of one shard of sampled trajectories."""

    source: str
    fingerprint: str

    @property
    def name(self) -> str:
        return f"inject-{self.source}"


@dataclass(frozen=True)
class Injected:
    """What came of the faults of one shard: `failed` are labelled failures, `recovered` still succeeded."""

    failed: int
    recovered: int
    undecided: int
    """A fault of a tool or verifier left no verdict."""

    def __add__(self, other: Injected) -> Injected:
        return Injected(self.failed + other.failed, self.recovered + other.recovered, self.undecided + other.undecided)


class Inject(Stage[Shard, Injected]):
    """Plant an error of a known kind at a known step of successes, and play each run on to its end.

    A run holds one set of faults: another choice of kinds or numbers takes the place of the one before.
    """

    verb = "inject"
    writes = ("messages", "trajectories")

    def __init__(self, run: Run) -> None:
        """Find the run's sampled shards; refuse imported logs and other conditions than the run's own."""
        self.run, config = run, run.config
        sources = run.sources(Kind.SAMPLED)
        if not sources:
            raise UserError(
                f"run {run.id!r} has no sampled rollouts, and only those can be continued: sample one (apportion "
                "sample)"
            )
        check_conditions(config, run.id, "a continuation", "--run to a run that it sampled")
        spec = [ALGORITHM_VERSION, config.inject.model_dump(mode="json"), config.sampling()]
        self.shards = [Shard(source.name, digest([spec, source.fingerprint])) for source in sources]

    def ready(self) -> None:
        """Also refuse what keeps recorded runs from being played on."""
        to_continue(self.run.config, self.run.id, bool(self.pending))

    def planned(self, shard: Shard) -> Iterator[tuple[Log, Fault]]:
        """The faults of a shard, success by success. Replacements come from the words of all its trajectories."""
        config, logs = self.run.config, list(self.run.logs(shard.source))
        names = pool(logs)
        for log in logs:
            if log.trajectory["success"]:
                for fault in faults(log, names, config.inject.kinds, config.inject.each, config.run.seed):
                    yield log, fault

    def work(self, shard: Shard) -> Injected:
        """Plant the faults of one shard, continue all runs together and commit them, trajectories last."""
        planned, config = list(self.planned(shard)), self.run.config
        rollouts = [
            branch(log, fault.step, f"fault {fault.kind}", n, config.run.seed, text=fault.text, origin="injected")
            for n, (log, fault) in enumerate(planned)
        ]
        bench = Bench.open(config) if rollouts else None
        verdicts = [success for _, success in bench.judge("planted faults", rollouts)] if bench else []
        played = bench.played if bench else []
        write = self.run.writer(shard.name, shard.fingerprint)
        write("messages", [row for one, _ in played for row in message_rows(one, config.sample)])
        labels = [
            {"fault_kind": fault.kind, "fault_step": fault.step, "fault_agent": fault.agent} for _, fault in planned
        ]
        write(
            "trajectories",
            [
                {**row, "rollout_index": 0, "batch_index": None, **label}
                for (_, row), label in zip(played, labels, strict=True)
            ],
        )
        return Injected(verdicts.count(False), verdicts.count(True), verdicts.count(None))

    def unplanted(self) -> tuple[int, dict[str, int]]:
        """How many faults the pending shards would get, and how many of their trajectories get none, by reason."""
        count, why = 0, Counter[str]()
        for shard in self.pending:
            logs = list(self.run.logs(shard.source))
            found = Counter(log.trajectory_id for log, _ in self.planned(shard))
            count += found.total()
            verdicts = [log.trajectory["success"] for log in logs]
            why["failed: errors are planted in successes"] += verdicts.count(False)
            why["without a verdict: errors are planted in successes"] += verdicts.count(None)
            barren = [log for log in logs if log.trajectory["success"] and log.trajectory_id not in found]
            kinds = ", ".join(self.run.config.inject.kinds)
            why[f"no message that an error of kind {kinds} fits into"] += len(barren)
        return count, {reason: number for reason, number in why.items() if number}

    def foretell(self) -> Iterator[str]:
        """The faults of the pending shards, and why there are no more."""
        count, why = self.unplanted()
        yield (
            f"run {self.run.id}: {len(self.pending)} of {len(self.shards)} shards to do, {count:,} faults to plant, "
            "each continued from its step to the end"
        )
        for reason, number in why.items():
            yield f"no fault: {number} x {reason}"
        if not self.pending:
            yield NOTHING
