"""The verb that plants errors in successes, so that there are failures whose wrong step is known: `inject`."""

from __future__ import annotations

from typing import Annotated

import typer

from apportion.cli.common import ConfigFile, DryRun, Format, Run, Sets, Trust, config_of_run, printed, say
from apportion.cli.stages import carry_out

Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", help="wrong_number, wrong_tool_input, dropped_fact or contradiction; default: all."),
]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(inject)


def inject(
    config: ConfigFile = None,
    sets: Sets = None,
    run: Run = None,
    kind: Kinds = None,
    dry_run: DryRun = False,
    trust: Trust = False,
) -> None:
    """Plant an error of a known kind at a known step of successes, and play each run on to its end.

    A run holds one set of faults: another choice of kinds or numbers takes the place of the one before.
    """
    from apportion.pipeline.runs.run import Run as Opened
    from apportion.pipeline.stages.inject import Inject, Injected

    chosen = [f"inject.kinds={kind}"] if kind else []
    opened = Opened(*config_of_run(config, [*(sets or ()), *chosen], run, runs_code=True, trust=trust))
    results = carry_out(Inject(opened), dry_run)
    if results is None:
        return
    now = sum(results, Injected(0, 0, 0))
    say(
        f"run {opened.id}: of the faults planted now, {now.failed} made the team fail and are labelled failures; "
        f"{now.recovered} were overcome, {now.undecided} left no verdict"
    )
    printed(opened.config, _FAULTS_SQL.format(run=opened.id), Format.TABLE)


_FAULTS_SQL = (
    "SELECT fault_kind, fault_agent, count(*) AS planted, count(*) FILTER (NOT success) AS failed, "
    "count(*) FILTER (success) AS overcome FROM trajectories WHERE run_id = '{run}' AND origin = 'injected' "
    "GROUP BY ALL ORDER BY fault_kind, fault_agent"
)
