"""The command line: every verb checks its input first and answers with one clear line when something is wrong."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from apportion import __version__
from apportion.cli import annotate as cli_annotate
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
    Sets,
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

ROAD = (
    "demo", "init", "sample", "import", "credit", "blame", "annotate", "inject", "audit", "export", "train", "loop",
    "evaluate", "sql", "runs",
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
cli_annotate.add_to(app)
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
    format: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT", help="who-and-when, messages, process-bench, or a class of your own: file.py:Class."
        ),
    ],
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
        there = stage.run.config.run.data
        where = "" if there == "data" else f" --set run.data={shlex.quote(there)}"
        say(f"next: apportion annotate --run {stage.run.id} --set annotate.on=all{where} --dry-run")


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT over the tables and views.")],
    config: ConfigFile = None,
    sets: Sets = None,
    format: As = Format.TABLE,
) -> None:
    """Ask the tables in SQL (read-only)."""
    printed(configured(config, sets), query, format)


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
        _fail("interrupted; the same command resumes where it stopped", 130)
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


if __name__ == "__main__":
    main()
