"""The verb that plants errors in successes, so that there are failures whose wrong step is known: `inject`."""

from __future__ import annotations

from typing import Annotated

import typer

from apportion.cli.common import ConfigFile, DryRun, Format, Run, Sets, Trust, config_of_run, printed, say

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
    from apportion.pipeline.stages.inject import plan, unplanted
    from apportion.pipeline.stages.ready import to_continue

    chosen = [f"inject.kinds={kind}"] if kind else []
    resolved, run = config_of_run(config, [*(sets or ()), *chosen], run, runs_code=True, trust=trust)
    made = plan(resolved, run)
    to_continue(resolved, run, bool(made.pending))
    if dry_run:
        count, why = unplanted(made)
        say(
            f"run {run}: {len(made.pending)} of {len(made.shards)} shards to do, {count:,} faults to plant, "
            "each continued from its step to the end"
        )
        for reason, number in why.items():
            say(f"no fault: {number} x {reason}")
        if not made.pending:
            say("all that is asked for stands: nothing would be done")
        return
    from apportion.cli.progress import Bars
    from apportion.flows.common import light
    from apportion.flows.inject import inject as flow

    with light(), Bars():
        now = flow(resolved, run)
    say(
        f"run {run}: of the faults planted now, {now.failed} made the team fail and are labelled failures; "
        f"{now.recovered} were overcome, {now.undecided} left no verdict"
    )
    printed(resolved, _FAULTS_SQL.format(run=run), Format.TABLE)


_FAULTS_SQL = (
    "SELECT fault_kind, fault_agent, count(*) AS planted, count(*) FILTER (NOT success) AS failed, "
    "count(*) FILTER (success) AS overcome FROM trajectories WHERE run_id = '{run}' AND origin = 'injected' "
    "GROUP BY ALL ORDER BY fault_kind, fault_agent"
)
