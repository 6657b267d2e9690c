"""The verbs that annotate a run: `credit` its agents, `blame` its failures, or `annotate`, both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from apportion.cli.common import ConfigFile, DryRun, Format, Run, Sets, Trust, config_of_run, printed, say
from apportion.cli.stages import perform

if TYPE_CHECKING:
    from apportion.pipeline.games.game import Rules
    from apportion.pipeline.stages.blame import Blame
    from apportion.pipeline.stages.credit import Credit
    from apportion.pipeline.stages.stage import Stage

_REASONS = 5
"""Kinds of reasons that are told at the end."""
_CREDIT = (
    "SELECT player, role, success, games, mean_credit, mean_loo, share_positive FROM agent_credit "
    "WHERE run_id = '{run}' AND {where} ORDER BY success DESC, mean_credit DESC"
)
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


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command()(credit)
    app.command()(blame)
    app.command()(annotate)


def credit(
    config: ConfigFile = None, sets: Sets = None, run: Run = None, dry_run: DryRun = False, trust: Trust = False
) -> None:
    """Credit the agents of a run: what masking or replaying without them changes."""
    _annotate(config, sets, run, dry_run, trust, ("credit",))


def blame(
    config: ConfigFile = None, sets: Sets = None, run: Run = None, dry_run: DryRun = False, trust: Trust = False
) -> None:
    """Find, repair and pair what went wrong in a run's failures."""
    _annotate(config, sets, run, dry_run, trust, ("blame",))


def annotate(
    config: ConfigFile = None, sets: Sets = None, run: Run = None, dry_run: DryRun = False, trust: Trust = False
) -> None:
    """Credit the agents of a run, and find, repair and pair what went wrong in its failures."""
    _annotate(config, sets, run, dry_run, trust, ("credit", "blame"))


def _annotate(config: ConfigFile, sets: Sets, run: Run, dry_run: bool, trust: bool, verbs: tuple[str, ...]) -> None:
    from apportion.pipeline.runs.run import Run as Opened
    from apportion.pipeline.stages.blame import Blame
    from apportion.pipeline.stages.credit import Credit
    from apportion.pipeline.stages.stage import NOTHING

    opened = Opened(*config_of_run(config, sets, run, runs_code=True, trust=trust))
    crediting = Credit(opened, dry=dry_run) if "credit" in verbs else None
    blaming = Blame(opened) if "blame" in verbs else None
    stages: list[Stage[Any, int]] = [stage for stage in (crediting, blaming) if stage]
    current = not any(stage.pending for stage in stages)
    for stage in stages:
        stage.ready()
    for line in blaming.how() if blaming else ():
        say(line)
    results = [perform(stage, dry_run) for stage in stages]
    if dry_run:
        if current:
            say(NOTHING)
        return
    counts = [sum(result or ()) for result in results]
    done = [f"{n} {what}" for n, what in zip(counts, (_DONE[stage.verb] for stage in stages), strict=True)]
    say(f"run {opened.id}: {' and '.join(done)} now")
    if current:
        more = "; failures get credit too with --set annotate.on=all" if crediting else ""
        say(f"all that was asked for is current{more}")
    if crediting:
        _show_credit(crediting)
    if blaming:
        _show_blame(blaming)


_DONE = {"credit": "games played", "blame": "failures looked at"}


def _show_credit(stage: Credit) -> None:
    """Who earned how much under the rules of this call, and which trajectories were set aside."""
    from apportion.pipeline.core.reasons import summed
    from apportion.pipeline.runs.sql import query

    if not stage.shards:
        return
    config, run = stage.run.config, stage.run.id
    printed(config, _CREDIT.format(run=run, where=_where(stage.shards[0].rules)), Format.TABLE)
    text = f"SELECT reason FROM rejects WHERE run_id = '{run}' AND stage = 'annotate {stage.spec}'"
    reasons = summed(query(config.store_root, text)["reason"].to_pylist())
    for reason, count in reasons[:_REASONS]:
        say(f"set aside: {count} x {reason}")
    if len(reasons) > _REASONS:
        say(f"set aside: {sum(n for _, n in reasons[_REASONS:])} x for other reasons, all in the table rejects")


def _where(rules: Rules) -> str:
    """The rows of `agent_credit` whose games follow these rules."""
    asked = {
        "value_kind": rules.value, "scorer": rules.scorer, "masking": rules.masking, "cue": rules.cue,
        "game_window": rules.window, "answerer": rules.answerer, "k": rules.k, "decoding": rules.decoding,
        "seed": rules.seed,
    }  # fmt: skip
    return " AND ".join(f"{name} IS NOT DISTINCT FROM {_literal(value)}" for name, value in asked.items())


def _literal(value: str | int | None) -> str:
    """A value as SQL writes it."""
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def _show_blame(stage: Blame) -> None:
    """Whom the failures blame, each localizer and target apart; how often nobody, and why; what that is worth."""
    from apportion.pipeline.evaluation.worth import worth_of
    from apportion.pipeline.runs.sql import query

    if not stage.shards:
        return
    config, run = stage.run.config, stage.run.id
    printed(config, _BLAME.format(run=run), Format.TABLE)
    for row in query(config.store_root, _SILENT.format(run=run)).to_pylist():
        say(f"{row['failures']:,} failures in which {row['localizer']} names no step: {row['reason']}")
    named = query(
        config.store_root, f"SELECT DISTINCT localizer FROM blame WHERE run_id = '{run}' AND agent IS NOT NULL"
    )
    foreign = any(shard.imported for shard in stage.shards)
    for line in worth_of({name for name in named["localizer"].to_pylist() if foreign or name == "learned"}):
        say(line)
