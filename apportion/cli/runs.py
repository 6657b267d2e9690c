"""`apportion runs`: look at the runs in the store."""

from __future__ import annotations

from typing import Annotated

import typer

from apportion.cli.common import As, ConfigFile, Format, Sets, configured, rendered, say

runs_app = typer.Typer(help="Look at the runs in the store.", no_args_is_help=True)


@runs_app.command("list")
def runs_list(config: ConfigFile = None, sets: Sets = None, format: As = Format.TABLE) -> None:
    """Every run with its rows and size."""
    import pyarrow as pa

    from apportion.pipeline.runs.store import Store
    from apportion.reading import summary

    infos = Store(configured(config, sets).store_root).runs()
    rows = [summary(info) for info in infos]
    if not rows and format is Format.TABLE:
        say("no runs yet; try: apportion demo")
        return
    guessed = [info.run_id for info in infos if info.created and not info.stated]
    if guessed:
        say(
            f"created, of {len(guessed)} of {len(infos)} runs ({', '.join(guessed[:3])}"
            f"{', ...' if len(guessed) > 3 else ''}), is the time of its oldest file, which a copy changes"
        )
    typer.echo(rendered(pa.Table.from_pylist(rows), format))


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

    from apportion.pipeline.runs.store import Store

    info = Store(configured(config, sets).store_root).run(run)
    tables = [
        {"table": name, "rows": table.rows, "shards": table.shards, "bytes": table.bytes}
        for name, table in info.tables.items()
    ]
    if format is Format.JSON:
        typer.echo(json.dumps({"run": run, "tables": tables, "manifest": info.manifest}, indent=2))
        return
    typer.echo(rendered(pa.Table.from_pylist(tables), format))


@runs_app.command("verify")
def runs_verify(
    run: Annotated[str | None, typer.Argument(help="The run's id; default: all runs.")] = None,
    config: ConfigFile = None,
    sets: Sets = None,
) -> None:
    """Check every shard's checksum, every table's invariants, and that credits add up. Exit 1 on a problem."""
    from apportion.pipeline.runs.store import Store

    store = Store(configured(config, sets).store_root)
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
            say(f"{name}: {problem}")
        if not problems:
            say(f"{name}: whole ({sum(t.rows for t in store.run(name).tables.values()):,} rows)")
    if bad:
        raise typer.Exit(1)


@runs_app.command("remove")
def runs_remove(
    run: Annotated[str, typer.Argument(help="The run's id.")], config: ConfigFile = None, sets: Sets = None
) -> None:
    """Delete a run's shards and manifest."""
    from apportion.pipeline.runs.store import Store

    Store(configured(config, sets).store_root).remove(run)
    say(f"removed {run}")
