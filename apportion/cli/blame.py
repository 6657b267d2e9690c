"""What `annotate` says of failures: how they are looked at, whom that blames, where nobody is, and what it is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apportion.cli.common import Format, printed, say

if TYPE_CHECKING:
    from apportion.pipeline.core.config import Config
    from apportion.pipeline.stages.blame import FailurePlan

_BLAME = (
    "SELECT localizer, target, coalesce(agent, '(not found)') AS agent, turn, sum(failures)::BIGINT AS failures, "
    "sum(mean_confidence * failures) / sum(failures) AS mean_confidence, sum(confirmed_repairs)::BIGINT AS "
    "confirmed_repairs FROM blame WHERE run_id = '{run}' GROUP BY ALL ORDER BY localizer, target, failures DESC, "
    "agent, turn"
)
_SILENT = (
    "SELECT localizer, reason, sum(failures)::BIGINT AS failures FROM blame WHERE run_id = '{run}' AND agent IS NULL "
    "AND reason IS NOT NULL GROUP BY ALL ORDER BY ALL"
)


def say_how(plan: FailurePlan) -> None:
    """How failures are looked at, where that is not plain from the configuration."""
    for shard in {shard.kind: shard for shard in plan.shards if shard.imported}.values():
        how = shard.kind
        if not plan.configured.by_name(shard.kind):
            how += ", which names a step only in logs like those that it learned from"
            how += f" (--set failures.localizer={shard.kind}: in all)"
        say(f"imported logs cannot be continued: nothing is repaired, first errors are found by {how}")


def say_planned(plan: FailurePlan, run: str) -> None:
    """What a dry run says of the failures."""
    from apportion.pipeline.stages.blame import cost

    total = cost(plan)
    say(
        f"run {run}: {total['failures']:,} failures to look at, {total['prefixes']:,} prefixes, at most "
        f"{total['continuations']:,} continuations"
    )
    if total["unlike"]:
        say(f"run {run}: in {total['unlike']:,} of them no step will be named: they are unlike what learned comes from")
    if total["failures"]:
        _say_worth({shard.kind for shard in plan.shards if shard.imported or shard.kind == "learned"})


def show(config: Config, plan: FailurePlan, run: str) -> None:
    """Whom the failures blame, each localizer and target apart; how often nobody, and why; what that is worth."""
    from apportion.pipeline.runs.sql import query

    if not plan.shards:
        return
    printed(config, _BLAME.format(run=run), Format.TABLE)
    for row in query(config.store_root, _SILENT.format(run=run)).to_pylist():
        say(f"{row['failures']:,} failures in which {row['localizer']} names no step: {row['reason']}")
    found = query(
        config.store_root, f"SELECT DISTINCT localizer FROM blame WHERE run_id = '{run}' AND agent IS NOT NULL"
    )
    foreign = any(shard.imported for shard in plan.shards)
    _say_worth({name for name in found["localizer"].to_pylist() if foreign or name == "learned"})


def _say_worth(localizers: set[str]) -> None:
    from apportion.pipeline.evaluation.worth import WORTH

    for name in sorted(localizers & set(WORTH)):
        say(f"what {name} is worth on logs of others: {WORTH[name]}")
