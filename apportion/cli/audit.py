"""The verb that says whether the credit of a run deserves trust: `audit`."""

from __future__ import annotations

import json
import textwrap

import typer

from apportion.cli.common import As, ConfigFile, DryRun, Format, Run, Sets, Trust, config_of_run, rendered, say

_WIDTH = 100


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(audit)


def audit(
    config: ConfigFile = None,
    sets: Sets = None,
    run: Run = None,
    dry_run: DryRun = False,
    trust: Trust = False,
    format: As = Format.TABLE,
) -> None:
    """Hold the credit of a run against replays without one agent, and say whether to trust it."""
    from apportion.pipeline.stages import audit as stage
    from apportion.pipeline.stages.foresee import foresee, notes
    from apportion.pipeline.stages.ready import to_continue

    resolved, run = config_of_run(config, sets, run, runs_code=True, trust=trust)
    replays = stage.plan(resolved, run, dry=dry_run)
    to_continue(resolved, run, bool(replays.plan and replays.plan.pending))
    if replays.why_not:
        say(replays.why_not)
    if dry_run:
        if replays.plan and replays.plan.assumed:
            say(replays.plan.assumed)
        shards = len(replays.plan.pending) if replays.plan else 0
        say(f"run {run}: would replay {replays.rollouts:,} rollouts in {shards} shards, then make the figures")
        for note in notes(foresee(replays.plan, None), resolved.model.max_model_len) if replays.plan else ():
            say(note)
        return
    from apportion.cli.progress import Bars
    from apportion.flows.audit import audit as flow
    from apportion.flows.common import light
    from apportion.pipeline.audit.summary import paragraph

    with light(), Bars():
        flow(resolved, run)
    figures = stage.make(resolved, run)
    rows = figures.to_pylist()
    summary = paragraph(rows)
    if format is Format.JSON:
        told = {"run": run, "summary": summary, "figures": rows}
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2, allow_nan=False))
        return
    typer.echo(rendered(figures, format))
    if format is Format.CSV:  # a paragraph would not parse
        say(summary)
    else:
        typer.echo(f"\n{textwrap.fill(summary, _WIDTH)}")
