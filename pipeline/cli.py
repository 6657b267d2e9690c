"""The command line: every verb checks its input first and answers with one clear line when something is wrong."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.config import Config

app = typer.Typer(
    help="Credit assignment for teams of LLM agents: sample, credit, and query the tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
runs_app = typer.Typer(help="Look at the runs in the store.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")


class Format(StrEnum):
    """How data is written to standard output."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file of the run.")]
Sets = Annotated[list[str] | None, typer.Option("--set", "-s", help="Override one key: section.key=value.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and what it would cost.")]
Run = Annotated[str | None, typer.Option("--run", "-r", help="A run's id; default: the newest.")]
As = Annotated[Format, typer.Option("--format", "-f", help="How to print the data.")]


@app.command()
def demo(sets: Sets = None) -> None:
    """Sample a team on tasks of our own, credit its agents and show what came out."""
    from pipeline.demo import CONFIG, run_demo

    run_demo(_config(CONFIG, sets))


@app.command()
def sample(config: ConfigFile = None, sets: Sets = None, dry_run: DryRun = False) -> None:
    """Sample groups of rollouts of a team with vLLM."""
    from pipeline.stages.sample import plan

    resolved = _config(config, sets)
    planned = plan(resolved)
    _tell_rejects(planned.rejects)
    if dry_run:
        waiting = planned.pending
        _say(
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
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="who-and-when or messages.")],
    path: Annotated[Path, typer.Argument(help="A file or a folder of logs.")],
    config: ConfigFile = None,
    sets: Sets = None,
    dry_run: DryRun = False,
) -> None:
    """Read logs of other agents into the same tables."""
    from pipeline.stages.import_logs import plan, run

    planned = plan(_config(config, sets), format, path)
    _tell_rejects(planned.read.rejects)
    counts = (
        f"{len(planned.read.trajectories)} trajectories, {len(planned.read.messages)} messages, "
        f"{len(planned.read.rejects)} rejected rows"
    )
    if dry_run:
        _say(f"would import {counts} as run {planned.run}")
        return
    _say(f"run {run(planned)}: {counts}")
    _say(f"next: apportion annotate --run {planned.run} --set annotate.on=all --dry-run")


@app.command()
def annotate(config: ConfigFile = None, sets: Sets = None, run: Run = None, dry_run: DryRun = False) -> None:
    """Credit the agents of a run by masked re-scoring."""
    from pipeline.stages.annotate import cost, plan
    from pipeline.stages.common import tokenizer_for

    resolved, run = _config_of_run(config, sets, run)
    planned = plan(resolved, run)
    if dry_run:
        total = cost(planned, tokenizer_for(resolved.model, resolved.data_root))
        _say(
            f"run {run}: {len(planned.pending)} of {len(planned.shards)} shards to do, {total['games']:,} games, "
            f"{total['coalitions']:,} coalitions, {total['prompt_tokens']:,} prompt tokens, of which "
            f"{total['distinct_tokens']:,} must be computed"
        )
        return
    from flows.annotate import annotate as flow
    from flows.common import light
    from pipeline.progress import Bars

    with Bars(), light():
        games = flow(resolved, run)
    _say(f"run {run}: {games} games played now")
    if not games:
        _say("all that was asked for stands; failures are credited with --set annotate.on=all")
    section = resolved.annotate
    where = f"masking = '{section.masking}' AND scorer = '{planned.scorer}' AND cue = $${section.cue}$$"
    _print(resolved, _CREDIT_SQL.format(run=run, where=where), Format.TABLE)
    _set_aside(resolved, run, planned.spec)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT over the tables and views.")],
    config: ConfigFile = None,
    sets: Sets = None,
    format: As = Format.TABLE,
) -> None:
    """Ask the tables in SQL (read-only)."""
    _print(_config(config, sets), query, format)


@runs_app.command("list")
def runs_list(config: ConfigFile = None, sets: Sets = None, format: As = Format.TABLE) -> None:
    """Every run with its rows and size."""
    import pyarrow as pa

    from pipeline.store import Store

    rows = [
        {
            "run": info.run_id,
            "created": info.created.isoformat(timespec="seconds") if info.created else None,
            "kind": (info.manifest or {}).get("kind"),
            "trajectories": info.tables["trajectories"].rows if "trajectories" in info.tables else 0,
            "credits": info.tables["credits"].rows if "credits" in info.tables else 0,
            "bytes": sum(table.bytes for table in info.tables.values()),
        }
        for info in Store(_config(config, sets).store_root).runs()
    ]
    if not rows and format is Format.TABLE:
        _say("no runs yet; try: apportion demo")
        return
    typer.echo(_render(pa.Table.from_pylist(rows), format))


@runs_app.command("show")
def runs_show(
    run: Annotated[str, typer.Argument(help="The run's id.")],
    config: ConfigFile = None,
    sets: Sets = None,
    format: As = Format.TABLE,
) -> None:
    """The tables of one run, and how it was made."""
    import json

    import pyarrow as pa

    from pipeline.store import Store

    info = Store(_config(config, sets).store_root).run(run)
    tables = [
        {"table": name, "rows": table.rows, "shards": table.shards, "bytes": table.bytes}
        for name, table in info.tables.items()
    ]
    if format is Format.JSON:
        typer.echo(json.dumps({"run": run, "tables": tables, "manifest": info.manifest}, indent=2))
        return
    typer.echo(_render(pa.Table.from_pylist(tables), format))


@runs_app.command("verify")
def runs_verify(
    run: Annotated[str | None, typer.Argument(help="The run's id; default: all runs.")] = None,
    config: ConfigFile = None,
    sets: Sets = None,
) -> None:
    """Check every shard's checksum, every table's invariants, and that credits add up. Exit 1 on a problem."""
    from pipeline.store import Store

    store = Store(_config(config, sets).store_root)
    names = [run] if run else [info.run_id for info in store.runs()]
    bad = 0
    for name in names:
        problems = [str(problem) for problem in store.verify(name)]
        expected = (store.manifest(name) or {}).get("shards", [])
        found = {path.stem.removeprefix("part-") for path in store.shards("trajectories", name)}
        if missing := [shard for shard in expected if shard not in found]:
            problems.append(f"unfinished: {len(missing)} of {len(expected)} shards; give the same command again")
        bad += len(problems)
        for problem in problems:
            _say(f"{name}: {problem}")
        if not problems:
            _say(f"{name}: whole ({sum(t.rows for t in store.run(name).tables.values()):,} rows)")
    if bad:
        raise typer.Exit(1)


@runs_app.command("remove")
def runs_remove(
    run: Annotated[str, typer.Argument(help="The run's id.")], config: ConfigFile = None, sets: Sets = None
) -> None:
    """Delete a run's shards and manifest."""
    from pipeline.store import Store

    Store(_config(config, sets).store_root).remove(run)
    _say(f"removed {run}")


_CREDIT_SQL = (
    "SELECT player, role, games, mean_credit, mean_loo, share_positive FROM agent_credit "
    "WHERE run_id = '{run}' AND {where} ORDER BY mean_credit DESC"
)
_SUCCESS_SQL = "SELECT team, origin, n, successes, rate FROM success WHERE run_id = '{run}' ORDER BY rate DESC"


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


def _config(file: Path | None, sets: list[str] | None, base: dict[str, Any] | None = None) -> Config:
    from pipeline.config import load_config
    from pipeline.quiet import hush

    config = load_config(file, tuple(sets or ()), base)
    hush(config.data_root, hub=config.model.hub or config.tasks.hub)
    return config


def _config_of_run(file: Path | None, sets: list[str] | None, run: str | None) -> tuple[Config, str]:
    """The stored configuration of a run (default: the newest), with this call's file and overrides on top."""
    from pipeline.errors import UserError
    from pipeline.store import Store

    first = _config(file, sets)
    store = Store(first.store_root)
    if run is None and first.run.name:
        run = first.run.name
    if run is None:
        infos = [info for info in store.runs() if "trajectories" in info.tables and info.created]
        if not infos:
            raise UserError(f"no runs in {first.store_root}; sample one (apportion sample) or import logs")
        run = max(infos, key=lambda info: str(info.created)).run_id
    manifest = store.manifest(run) or {}
    return _config(file, sets, manifest.get("config")), run


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print(config: Config, query: str, format: Format) -> None:
    from pipeline.sql import query as ask

    typer.echo(_render(ask(config.store_root, query), format))


def _render(data: pa.Table, format: Format) -> str:
    from pipeline.sql import render

    return render(data, format.value).rstrip("\n")


def _show_success(config: Config, run: str) -> None:
    _say(f"run {run}")
    _print(config, _SUCCESS_SQL.format(run=run), Format.TABLE)


def _set_aside(config: Config, run: str, spec: str) -> None:
    from pipeline.sql import query as ask

    text = (
        f"SELECT reason, count(*)::INT AS n FROM rejects WHERE run_id = '{run}' AND stage = 'annotate {spec}' "
        "GROUP BY reason ORDER BY n DESC LIMIT 3"
    )
    for row in ask(config.store_root, text).to_pylist():
        _say(f"set aside: {row['n']} x {row['reason']}")


def _tell_rejects(rejects: Any) -> None:
    for reject in rejects[:5]:
        _say(f"set aside: {reject.source}:{reject.line}: {reject.reason}")
    if len(rejects) > 5:
        _say(f"set aside: {len(rejects) - 5} more rows, all in the table rejects")


if __name__ == "__main__":
    main()
