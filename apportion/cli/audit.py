"""The verb that says whether the credit of a run deserves trust: `audit`."""

from __future__ import annotations

import json
import textwrap

import typer

from apportion.cli.common import As, ConfigFile, DryRun, Format, Run, Sets, Trust, config_of_run, rendered, say
from apportion.cli.stages import carry_out

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
    from apportion.pipeline.audit.summary import paragraph
    from apportion.pipeline.runs.run import Run as Opened
    from apportion.pipeline.stages.audit import Audit, make

    opened = Opened(*config_of_run(config, sets, run, runs_code=True, trust=trust))
    stage = Audit(opened, dry=dry_run)
    if stage.why_not:
        say(stage.why_not)
    if carry_out(stage, dry_run) is None:
        return
    figures = make(opened.config, opened.id)
    rows = figures.to_pylist()
    summary = paragraph(rows)
    if format is Format.JSON:
        told = {"run": opened.id, "summary": summary, "figures": rows}
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2, allow_nan=False))
        return
    typer.echo(rendered(figures, format))
    if format is Format.CSV:  # a paragraph would not parse
        say(summary)
    else:
        typer.echo(f"\n{textwrap.fill(summary, _WIDTH)}")
