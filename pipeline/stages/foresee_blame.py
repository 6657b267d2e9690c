"""What looking at failures would cost, and which of them are not looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from apportion.pipeline.core.reasons import summed
from apportion.pipeline.datasets.pairs import SIBLING
from apportion.pipeline.evaluation.worth import worth_of
from apportion.pipeline.repair.alternatives import MOST_WINNERS
from apportion.pipeline.repair.located import unlike
from apportion.pipeline.trajectory.case import case_of

if TYPE_CHECKING:
    from apportion.pipeline.stages.blame import Blame


def how_looked_at(stage: Blame) -> Iterator[str]:
    """How failures are looked at, where that is not plain from the configuration."""
    for shard in {shard.kind: shard for shard in stage.shards if shard.imported}.values():
        how = shard.kind
        if not stage.configured.by_name(shard.kind):
            how += ", which names a step only in logs like those that it learned from"
            how += f" (--set failures.localizer={shard.kind}: in all)"
        yield f"imported logs cannot be continued: nothing is repaired, first errors are found by {how}"


def told_of(stage: Blame, tokenizer: Any) -> Iterator[str]:
    """Failures, prefixes and continuations of the pending shards; what is not looked at, and why."""
    name, total, config = stage.run.id, cost(stage), stage.run.config
    if not stage.configured.loads:
        written = config.as_written(config.failures.localizer)
        yield f"a dry run does not import failures.localizer = {written!r}: whether it can be made is not known"
    yield (
        f"run {name}: {total['failures']:,} failures to look at, {total['prefixes']:,} prefixes, at most "
        f"{total['continuations']:,} continuations"
    )
    if total["unlike"]:
        yield (
            f"run {name}: in {total['unlike']:,} of them no step will be named: they are unlike what learned comes from"
        )
    if total["failures"]:
        yield from worth_of({shard.kind for shard in stage.shards if shard.imported or shard.kind == "learned"})
    for reason, count in summed(obstacles(stage, tokenizer)):
        yield f"not looked at: {count} x {reason}"
    if not stage.shards:
        yield "failures.localizer = none: failures are left alone"


def cost(stage: Blame) -> dict[str, int]:
    """Of the pending shards: failures, those of which nothing will be said since they are unlike what the localizer
    learned from, their prefixes, and the most continuations that will be sampled."""
    section = stage.run.config.failures
    total = {"failures": 0, "unlike": 0, "prefixes": 0, "continuations": 0}
    for shard in stage.pending:
        logs = stage.logs(shard)
        if shard.kind == SIBLING:
            total["continuations"] += 2 * section.confirmations * len(logs)
            continue
        total["failures"] += len(logs)
        total["prefixes"] += sum(len(log.turns) + 1 for log in logs)
        if stage.loads(shard):
            method, cases = stage.method(shard), [case_of(log) for log in logs]
            if not stage.configured.by_name(shard.kind):
                total["unlike"] += sum(map(unlike, method.judge(cases, stage.configured.means())))
            total["continuations"] += sum(map(method.continuations, cases))
        if section.alternatives and not shard.imported:
            tries = section.alternatives + section.confirmations * (MOST_WINNERS + 1)
            total["continuations"] += len(logs) * tries
    return total


def obstacles(stage: Blame, tokenizer: Any) -> Iterator[str]:
    """Why trajectories of the pending shards are not looked at as failures."""
    limit = stage.run.config.failures.limit
    for source in sorted({shard.source for shard in stage.pending}):
        for log in stage.run.logs(source):
            if log.trajectory["success"] is None:
                yield "without a verdict: not known to have failed"
            elif not log.trajectory["success"] and not log.turns:
                yield "no agent spoke"
        beyond = 0 if limit is None else len(stage.failures(source).logs) - limit
        yield from [f"beyond failures.limit = {limit}"] * beyond
    for shard in stage.pending:
        if shard.kind != SIBLING and stage.loads(shard):
            method, means = stage.method(shard), stage.configured.means()
            reasons = (method.obstacle(case_of(log), tokenizer, means) for log in stage.logs(shard))
            yield from (reason for reason in reasons if reason is not None)
