"""The command line: every verb checks its input first and answers with one clear line when something is wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import cli_audit, cli_evaluate, cli_inject, cli_train
from pipeline.cli_common import As, ConfigFile, DryRun, Format, Run, Sets, config_of_run, configured, printed, say
from pipeline.cli_runs import runs_app

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.counterfactual.game import Rules

app = typer.Typer(
    help="Credit assignment for teams of LLM agents: sample, credit, and query the tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(runs_app, name="runs")
cli_audit.add_to(app)
cli_evaluate.add_to(app)
cli_inject.add_to(app)
cli_train.add_to(app)


@app.command()
def demo(sets: Sets = None) -> None:
    """Sample a team on tasks of our own, credit its agents and show what came out."""
    from pipeline.demo import CONFIG, run_demo

    run_demo(configured(CONFIG, sets))


@app.command()
def sample(config: ConfigFile = None, sets: Sets = None, dry_run: DryRun = False) -> None:
    """Sample groups of rollouts of a team with vLLM."""
    from pipeline.stages.sample import plan

    resolved = configured(config, sets)
    planned = plan(resolved)
    _tell_rejects(planned.rejects)
    if dry_run:
        waiting = planned.pending
        say(
            f"run {resolved.run_id}: {len(planned.tasks)} tasks, {sum(len(s.rollouts) for s in planned.shards)} "
            f"rollouts in {len(planned.shards)} shards, {len(planned.shards) - len(waiting)} already done; "
            f"at most {planned.most_tokens:,} generated tokens with one helper a turn"
        )
        return
    from flows.common import light
    from flows.sample import sample as flow
    from pipeline.progress import Bars

    with Bars(), light():
        run = flow(resolved)
    _show_success(resolved, run)


@app.command("import")
def import_(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="who-and-when, messages or process-bench.")],
    path: Annotated[Path, typer.Argument(help="A file or a folder of logs.")],
    config: ConfigFile = None,
    sets: Sets = None,
    dry_run: DryRun = False,
) -> None:
    """Read logs of other agents into the same tables."""
    from pipeline.stages.import_logs import plan, run

    planned = plan(configured(config, sets), format, path)
    _tell_rejects(planned.read.rejects)
    counts = (
        f"{len(planned.read.trajectories)} trajectories, {len(planned.read.messages)} messages, "
        f"{len(planned.read.rejects)} rejected rows"
    )
    for note in planned.read.notes:
        say(f"note: {note}")
    if dry_run:
        say(f"would import {counts} as run {planned.run}")
        return
    say(f"run {run(planned)}: {counts}")
    say(f"next: apportion annotate --run {planned.run} --set annotate.on=all --dry-run")


@app.command()
def annotate(config: ConfigFile = None, sets: Sets = None, run: Run = None, dry_run: DryRun = False) -> None:
    """Credit the agents of a run, and find, repair and pair what went wrong in its failures."""
    from pipeline.stages import failures
    from pipeline.stages.annotate import cost, plan
    from pipeline.stages.common import tokenizer_for

    resolved, run = config_of_run(config, sets, run)
    planned, blame = plan(resolved, run), failures.plan(resolved, run)
    for kind in {shard.kind for shard in blame.shards if shard.imported}:
        how = "learned, or by value_drop where it was trained on the question" if kind == "learned" else kind
        say(f"imported logs cannot be continued: nothing is repaired, first errors are found by {how}")
    if dry_run:
        total = cost(planned, tokenizer_for(resolved.model, resolved.data_root))
        say(
            f"run {run}: {len(planned.pending)} of {len(planned.shards)} shards to do, {total['games']:,} games, "
            f"{total['coalitions']:,} coalitions, {_effort(total)}"
        )
        failed = failures.cost(blame)
        say(
            f"run {run}: {failed['failures']:,} failures to look at, {failed['prefixes']:,} prefixes, at most "
            f"{failed['continuations']:,} continuations"
        )
        return
    from flows.annotate import annotate as flow
    from flows.common import light
    from pipeline.progress import Bars

    with Bars(), light():
        games, failed_now = flow(resolved, run)
    say(f"run {run}: {games} games played and {failed_now} failures looked at now")
    if not games and not failed_now:
        say("all that was asked for stands; failures get credit too with --set annotate.on=all")
    if planned.shards:
        printed(resolved, _CREDIT_SQL.format(run=run, where=_where(planned.shards[0].rules)), Format.TABLE)
        _set_aside(resolved, run, planned.spec)
    if blame.shards:
        printed(resolved, _BLAME_SQL.format(run=run), Format.TABLE)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT over the tables and views.")],
    config: ConfigFile = None,
    sets: Sets = None,
    format: As = Format.TABLE,
) -> None:
    """Ask the tables in SQL (read-only)."""
    printed(configured(config, sets), query, format)


_CREDIT_SQL = (
    "SELECT player, role, games, mean_credit, mean_loo, share_positive FROM agent_credit "
    "WHERE run_id = '{run}' AND {where} ORDER BY mean_credit DESC"
)
_BLAME_SQL = (
    "SELECT coalesce(agent, '(not found)') AS agent, turn, failures, mean_confidence, confirmed_repairs "
    "FROM blame WHERE run_id = '{run}' "
    "ORDER BY failures DESC, agent, turn"
)
_SUCCESS_SQL = (
    "SELECT team, origin, n, successes, rate FROM success WHERE run_id = '{run}' "
    "AND origin IN ('sampled', 'solo', 'imported') ORDER BY rate DESC"
)


def main() -> None:
    """Entry point: exit 0 on success, 1 when the work failed, 2 on wrong usage or bad input."""
    from pipeline.errors import UserError, WorkError

    try:
        app()
    except UserError as error:
        _fail(str(error), 2)
    except WorkError as error:
        _fail(str(error), 1)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != 130:  # 130: Typer's own answer to Ctrl-C
            raise
        _fail("interrupted; the same command goes on where it stopped", 130)
    except Exception as error:
        if os.environ.get("APPORTION_DEBUG"):
            raise
        first = (str(error).strip().splitlines() or ["no message"])[0]
        _fail(f"{type(error).__name__}: {first} (APPORTION_DEBUG=1 shows where)", 1)


def _fail(line: str, code: int) -> None:
    sys.stdout.flush()
    print(f"apportion: {line}", file=sys.stderr, flush=True)
    sys.exit(code)


def _show_success(config: Config, run: str) -> None:
    say(f"run {run}")
    printed(config, _SUCCESS_SQL.format(run=run), Format.TABLE)


def _effort(total: dict[str, int]) -> str:
    """What the coalitions of a plan cost, in words."""
    if total["prompt_tokens"]:
        return f"{total['prompt_tokens']:,} prompt tokens, of which {total['distinct_tokens']:,} must be computed"
    return f"at most {total['samples']:,} samples"


def _where(rules: Rules) -> str:
    """The rows of `agent_credit` whose games follow these rules."""
    cue = "NULL" if rules.cue is None else f"$${rules.cue}$$"
    masking = "NULL" if rules.masking is None else f"'{rules.masking}'"
    return (
        f"value_kind = '{rules.value}' AND scorer = '{rules.scorer}' AND masking IS NOT DISTINCT FROM {masking} "
        f"AND cue IS NOT DISTINCT FROM {cue}"
    )


def _set_aside(config: Config, run: str, spec: str) -> None:
    from pipeline.sql import query as ask

    text = (
        f"SELECT reason, count(*)::INT AS n FROM rejects WHERE run_id = '{run}' AND stage = 'annotate {spec}' "
        "GROUP BY reason ORDER BY n DESC LIMIT 3"
    )
    for row in ask(config.store_root, text).to_pylist():
        say(f"set aside: {row['n']} x {row['reason']}")


def _tell_rejects(rejects: Any) -> None:
    for reject in rejects[:5]:
        say(f"set aside: {reject.source}:{reject.line}: {reject.reason}")
    if len(rejects) > 5:
        say(f"set aside: {len(rejects) - 5} more rows, all in the table rejects")


if __name__ == "__main__":
    main()
