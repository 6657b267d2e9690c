"""The command line: every verb checks its input first and answers with one clear line when something is wrong."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from apportion import __version__
from apportion.cli import audit as cli_audit
from apportion.cli import evaluate as cli_evaluate
from apportion.cli import init as cli_init
from apportion.cli import inject as cli_inject
from apportion.cli import train as cli_train
from apportion.cli.common import (
    As,
    ConfigFile,
    DryRun,
    Format,
    Run,
    Sets,
    Trust,
    config_of_run,
    configured,
    printed,
    say,
    tell_rejects,
)
from apportion.cli.runs import runs_app
from apportion.cli.stages import carry_out
from apportion.pipeline.core.libraries import extra_for, require

if TYPE_CHECKING:
    from apportion.pipeline.core.config import Config
    from apportion.pipeline.games.game import Rules
    from apportion.pipeline.stages.blame import FailurePlan
    from apportion.pipeline.stages.credit import AnnotatePlan

ROAD = (
    "demo", "init", "sample", "import", "annotate", "inject", "audit", "export", "train", "loop", "evaluate", "sql",
    "runs",
)  # fmt: skip
"""The verbs in the order in which a trajectory meets them, as `--help` shows them."""


class Verbs(TyperGroup):
    """The verbs, in the order of the road; those without a place in it come last."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=lambda name: ROAD.index(name) if name in ROAD else len(ROAD))


app = typer.Typer(
    help="Credit assignment for teams of LLM agents: sample, credit, and query the tables.",
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(runs_app, name="runs")
cli_audit.add_to(app)
cli_evaluate.add_to(app)
cli_init.add_to(app)
cli_inject.add_to(app)
cli_train.add_to(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"apportion {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
]


@app.callback()
def begin(context: typer.Context, version: Version = False) -> None:
    """Refuse a verb whose libraries are not installed, before it does anything."""
    if "--dry-run" not in sys.argv and "--help" not in sys.argv:
        require(context.invoked_subcommand or "")


@app.command()
def demo(sets: Sets = None) -> None:
    """Sample a team on tasks of our own, credit its agents and show what came out."""
    from apportion.demo.demo import CONFIG, run_demo

    run_demo(configured(CONFIG, sets))


@app.command()
def sample(config: ConfigFile = None, sets: Sets = None, dry_run: DryRun = False) -> None:
    """Sample groups of rollouts of a team with vLLM."""
    from apportion.pipeline.stages.sample import Sample

    stage = Sample(configured(config, sets))
    tell_rejects(stage.rejects, stored=not dry_run)
    if carry_out(stage, dry_run) is not None:
        _show_success(stage.run.config, stage.run.id)


@app.command("import")
def import_(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="who-and-when, messages or process-bench.")],
    path: Annotated[Path, typer.Argument(help="A file or a folder of logs.")],
    config: ConfigFile = None,
    sets: Sets = None,
    dry_run: DryRun = False,
) -> None:
    """Read logs of other agents into the same tables."""
    from apportion.pipeline.stages.imports import Import

    stage = Import(configured(config, sets), format, path)
    tell_rejects(stage.read.rejects, stored=not dry_run)
    for note in stage.read.notes:
        say(f"note: {note}")
    if carry_out(stage, dry_run) is not None:
        say(f"run {stage.run.id}: {stage.counts}")
        say(f"next: apportion annotate --run {stage.run.id} --set annotate.on=all --dry-run")


@app.command()
def annotate(
    config: ConfigFile = None, sets: Sets = None, run: Run = None, dry_run: DryRun = False, trust: Trust = False
) -> None:
    """Credit the agents of a run, and find, repair and pair what went wrong in its failures."""
    from apportion.cli.blame import say_how
    from apportion.cli.blame import show as show_blame
    from apportion.pipeline.stages import blame as failures
    from apportion.pipeline.stages.credit import plan
    from apportion.pipeline.stages.ready import to_annotate

    resolved, run = config_of_run(config, sets, run, runs_code=True, trust=trust)
    planned, blame = plan(resolved, run, dry=dry_run), failures.plan(resolved, run)
    to_annotate(resolved, run, planned, blame)
    say_how(blame)
    if dry_run:
        if planned.assumed:
            say(planned.assumed)
        _foretell(planned, blame)
        return
    from apportion.cli.progress import Bars
    from apportion.flows.annotate import annotate as flow
    from apportion.flows.common import light

    stands = not planned.pending and not blame.pending
    with light(), Bars():
        games, failed_now = flow(resolved, run)
    say(f"run {run}: {games} games played and {failed_now} failures looked at now")
    if stands:
        say("all that was asked for stands; failures get credit too with --set annotate.on=all")
    if planned.shards:
        printed(resolved, _CREDIT_SQL.format(run=run, where=_where(planned.shards[0].rules)), Format.TABLE)
        _set_aside(resolved, run, planned.spec)
    show_blame(resolved, blame, run)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT over the tables and views.")],
    config: ConfigFile = None,
    sets: Sets = None,
    format: As = Format.TABLE,
) -> None:
    """Ask the tables in SQL (read-only)."""
    printed(configured(config, sets), query, format)


_REASONS = 5
"""Kinds of reasons that are told at the end of a run."""
_CREDIT_SQL = (
    "SELECT player, role, success, games, mean_credit, mean_loo, share_positive FROM agent_credit "
    "WHERE run_id = '{run}' AND {where} ORDER BY success DESC, mean_credit DESC"
)
_SUCCESS_SQL = (
    "SELECT team, origin, n, successes, rate FROM success WHERE run_id = '{run}' "
    "AND origin IN ('sampled', 'solo', 'imported') ORDER BY rate DESC"
)
_UNDECIDED_SQL = (
    "SELECT error, count(*)::INT AS n FROM trajectories WHERE run_id = '{run}' AND origin IN ('sampled', 'solo') "
    "AND success IS NULL AND error IS NOT NULL GROUP BY error ORDER BY n DESC, error LIMIT 3"
)


def main() -> None:
    """Entry point: exit 0 on success, 1 when the work failed, 2 on wrong usage or bad input."""
    from apportion.pipeline.core import dry_run as dry
    from apportion.pipeline.core.errors import UserError, WorkError

    try:
        app(prog_name="apportion")  # also as `python -m apportion`, for the completion of the shell
    except UserError as error:
        _fail(str(error), 2)
    except WorkError as error:
        _fail(str(error), 1)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != 130:  # 130: Typer's own answer to Ctrl-C
            raise
        _fail("interrupted; the same command goes on where it stopped", 130)
    except ModuleNotFoundError as error:
        cure = extra_for(error.name or "")
        if not cure:
            _unforeseen(error)
        _fail(f"this needs {error.name}, which is not installed: {cure}", 2)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            _unforeseen(error)
        named = os.fsdecode(error.filename or "a file")
        longest = max(len(os.fsencode(part)) for part in named.split(os.sep))
        _fail(f"{named[:60]}…: the name is too long ({longest} bytes; file systems take 255): choose a shorter one", 2)
    except Exception as error:
        _unforeseen(error)
    finally:
        dry.begin(False)


def _unforeseen(error: Exception) -> NoReturn:
    """End with what a library said. The traceback is for those who ask for it."""
    if os.environ.get("APPORTION_DEBUG"):
        raise error
    first = (str(error).strip().splitlines() or ["no message"])[0]
    _fail(f"{type(error).__name__}: {first} (APPORTION_DEBUG=1 shows where)", 1)


def _fail(line: str, code: int) -> NoReturn:
    sys.stdout.flush()
    print(f"apportion: {line}", file=sys.stderr, flush=True)
    sys.exit(code)


def _show_success(config: Config, run: str) -> None:
    from apportion.pipeline.runs.sql import query as ask

    say(f"run {run}")
    printed(config, _SUCCESS_SQL.format(run=run), Format.TABLE)
    for row in ask(config.store_root, _UNDECIDED_SQL.format(run=run)).to_pylist():
        say(f"without a verdict: {row['n']} x {row['error']}")


def _foretell(planned: AnnotatePlan, blame: FailurePlan) -> None:
    """Say what annotating would do, and what it would leave out."""
    from apportion.cli.blame import say_planned
    from apportion.pipeline.engines import running
    from apportion.pipeline.stages.foresee import effort, failure_notes, foresee, notes

    config, run = planned.config, planned.run
    tokenizer = running.tokenizer_for(config.model, config.data_root) if planned.pending or blame.pending else None
    seen = foresee(planned, tokenizer)
    say(
        f"run {run}: {len(planned.pending)} of {len(planned.shards)} shards to do, {seen.total['games']:,} games, "
        f"{seen.total['coalitions']:,} coalitions, {effort(seen.total)}"
    )
    for note in notes(seen, config.model.max_model_len):
        say(note)
    say_planned(blame, run)
    for note in failure_notes(blame, tokenizer):
        say(note)
    if not planned.shards:
        say("annotate.on = none: nobody is credited")
    if not blame.shards:
        say("failures.localizer = none: failures are left alone")
    if not planned.pending and not blame.pending:
        say("all that is asked for stands: nothing would be done")


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


def _set_aside(config: Config, run: str, spec: str) -> None:
    from apportion.pipeline.runs.sql import query as ask
    from apportion.pipeline.stages.foresee import summed

    text = f"SELECT reason FROM rejects WHERE run_id = '{run}' AND stage = 'annotate {spec}'"
    found = summed(ask(config.store_root, text)["reason"].to_pylist())
    for reason, count in found[:_REASONS]:
        say(f"set aside: {count} x {reason}")
    if len(found) > _REASONS:
        say(f"set aside: {sum(n for _, n in found[_REASONS:])} x for other reasons, all in the table rejects")


if __name__ == "__main__":
    main()
