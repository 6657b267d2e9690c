"""What the verbs of the command line share: options, the resolved configuration, and where output goes."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apportion.pipeline.core import dry_run as dry

if TYPE_CHECKING:
    import pyarrow as pa

    from apportion.pipeline.core.config import Config
    from apportion.pipeline.runs.store import RunInfo
    from apportion.pipeline.trajectory.task import Reject

_REASONS = 5
"""Kinds of reasons that are told line by line."""


class Format(StrEnum):
    """How data is written to standard output."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file of the run.")]
Sets = Annotated[list[str] | None, typer.Option("--set", "-s", help="Override one key: section.key=value.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done and what it would cost.", callback=dry.begin)
]
Trust = Annotated[bool, typer.Option("--trust", help="Run the code (dotted paths) that the run's manifest names.")]
Run = Annotated[str | None, typer.Option("--run", "-r", help="A run's id; default: the newest.")]
As = Annotated[Format, typer.Option("--format", "-f", help="How to print the data.")]


def configured(
    file: Path | None, sets: list[str] | None, base: dict[str, Any] | None = None, root: Path | None = None
) -> Config:
    from apportion.pipeline.core.config import load_config
    from apportion.pipeline.core.libraries import hush
    from apportion.pipeline.core.paths import locate

    config = load_config(file, tuple(sets or ()), base, root)
    if file is not None:  # dotted paths of a TOML file are found beside it, too
        folder = str(locate(str(file)).resolve().parent)
        sys.path.extend({folder} - set(sys.path))
    hush(config.data_root, hub=config.reaches_hub)
    return config


def config_of_run(
    file: Path | None,
    sets: list[str] | None,
    run: str | None,
    *,
    runs_code: bool = False,
    trust: bool = False,
    families: Collection[str] | None = None,
) -> tuple[Config, str]:
    """The stored configuration of a run (default: the newest), with this call's file and overrides on top.

    A verb that `runs_code` of `families` (default: of what plays and judges) refuses what the stored configuration
    alone names, unless the user says `trust`.
    """
    from apportion.pipeline.core.errors import UserError
    from apportion.pipeline.runs.store import Store
    from apportion.pipeline.runs.trust import PLAYED, refuse_foreign_code
    from apportion.reading import by_age

    first = configured(file, sets)
    store = Store(first.store_root)
    if run is None and first.run.name:
        run = first.run.name
    if run is None:
        infos = by_age(store)
        if not infos:
            raise UserError(f"no runs in {first.store_root}; sample one (apportion sample) or import logs")
        _say_guess(infos)
        run = infos[-1].run_id
    manifest = store.manifest(run) or {}
    # A copied store is worked on where it is now, not where its manifest says that it was made.
    config = configured(file, sets, manifest.get("config"), first.data_root)
    if runs_code and not trust:
        refuse_foreign_code(config, first, store.manifest_path(run), PLAYED if families is None else families)
    return config, run


def _say_guess(infos: Sequence[RunInfo]) -> None:
    """Say so where which run (the last of `infos`) was begun last had to be guessed."""
    newest = infos[-1]
    unstated = [info.run_id for info in infos if not info.stated]
    if len(infos) > 1 and unstated:
        say(
            f"run {newest.run_id} is taken for the newest by its files' times, which a copy changes: "
            f"{', '.join(unstated[:3])}{' and others' if len(unstated) > 3 else ''} came without a time of creation; "
            "name the run with --run"
        )


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def tell_rejects(rejects: Sequence[Reject], *, stored: bool) -> None:
    """Say which rows are set aside: the first of each kind of reason, with how many are like it, then the others.

    `stored`: they stand in the table rejects, as after a run and not in a dry one.
    """
    alike: dict[str, list[Reject]] = {}
    for reject in rejects:
        alike.setdefault(re.sub(r"\d+", "0", reject.reason), []).append(reject)
    kinds = list(alike.values())
    for first, *others in kinds[:_REASONS]:
        more = f" (and {len(others):,} more like it)" if others else ""
        say(f"set aside: {first.source}:{first.line}: {first.reason}{more}")
    rest = sum(map(len, kinds[_REASONS:]))
    if rest:
        say(f"set aside: {rest:,} more for other reasons{', all in the table rejects' if stored else ''}")


def printed(config: Config, query: str, format: Format) -> None:
    from apportion.pipeline.runs.sql import query as ask

    typer.echo(rendered(ask(config.store_root, query), format))


def rendered(data: pa.Table, format: Format) -> str:
    from apportion.pipeline.runs.sql import render

    return render(data, format.value).rstrip("\n")
