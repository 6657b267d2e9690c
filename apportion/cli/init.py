"""The verb that starts a project: editable copies of the package's configurations, and a team of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from apportion.cli.common import say

Folder = Annotated[Path, typer.Argument(help="Where to write them; made where it is not there.")]
_SUFFIXES = (".toml", ".py", ".jsonl")


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(init)


def init(folder: Folder = Path()) -> None:
    """Write copies of the package's configurations and teams, and an example of a team of your own, to edit."""
    from apportion.pipeline.core.errors import UserError

    copies = _copies()
    present = [name for name in copies if (folder / name).exists()]
    if present:
        more = f" and {len(present) - 1} more" if len(present) > 1 else ""
        raise UserError(f"{folder / present[0]}{more}: already there; nothing was written: name another folder")
    for name, text in copies.items():
        file = folder / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as out:
                out.write(text)
        except OSError as error:
            raise UserError(f"{file}: cannot be written: {error.strerror}") from error
        say(f"wrote {file}")
    say("next:")
    if folder != Path():
        say(f"  cd {shlex.quote(str(folder))}")
    say("  apportion sample --config dyad.toml --dry-run    # a team of your own (dyad.py), on tasks.jsonl")
    say("  apportion demo                                   # writes the tasks of demo.toml and loop.toml")
    say("  apportion sample --config demo.toml --set run.name=mine --dry-run")


def _copies() -> dict[str, str]:
    """Name in the project -> text. The teams lie a folder deeper than the data that they read."""
    from apportion.demo.demo import PROJECT
    from apportion.pipeline.core.paths import SHIPPED, TEAMS

    configurations = {file.name: file.read_text(encoding="utf-8") for file in sorted(SHIPPED.glob("*.toml"))}
    teams = {
        f"{TEAMS.name}/{file.name}": file.read_text(encoding="utf-8").replace('"data/', '"../data/')
        for file in sorted(TEAMS.glob("*.toml"))
    }
    example = {file.name: file.read_text(encoding="utf-8") for file in sorted(PROJECT.iterdir()) if _is_text(file)}
    return {**configurations, **teams, **example}


def _is_text(file: Path) -> bool:
    return file.suffix in _SUFFIXES
