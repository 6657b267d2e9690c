"""The layers of a configuration: TOML files, team files and `--set` overrides, as nested values."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

from apportion.pipeline.core import paths
from apportion.pipeline.core.errors import UserError


def read_team(path: Any) -> dict[str, Any]:
    """The team of a team file. Raises UserError where it cannot be read."""
    file = paths.locate(path if isinstance(path, str) else str(path), paths.TEAMS)
    if paths.is_bare(str(path)) and not file.exists():
        raise UserError(f"config: team.file = {str(path)!r}: {_no_such('team', str(path), paths.TEAMS)}")
    team: dict[str, Any] = paths.from_file({"team": _toml(file)}, file)["team"]
    return team


def read_toml(file: Path) -> dict[str, Any]:
    """The values of a TOML file, its paths found beside it. Raises UserError where it cannot be read."""
    return paths.from_file(_toml(file), file)


def locate(path: str) -> Path:
    """The configuration that `--config` names. Raises UserError for a bare name that is none of the package's."""
    file = paths.locate(path)
    if paths.is_bare(path) and not file.exists():
        raise UserError(f"--config {path}: {_no_such('configuration', path, paths.SHIPPED)}")
    return file


def _no_such(kind: str, name: str, folder: Path) -> str:
    """Why a bare name is none of the package's, and the cure."""
    known = sorted(file.stem for file in folder.glob("*.toml"))
    near = difflib.get_close_matches(name, known, 1, 0.5)
    cure = f"did you mean {near[0]!r}? there are" if near else "there are"
    return f"no such file, nor a {kind} of the package; {cure} {', '.join(known)}"


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        beside = {near.name: near for near in file.parent.glob("*.toml")}
        shipped = {near.name: near.relative_to(paths.PACKAGE) for near in paths.SHIPPED.rglob("*.toml")}
        near = difflib.get_close_matches(file.name, beside, 1) or difflib.get_close_matches(file.name, shipped, 1, 0.85)
        hint = f"; did you mean {(shipped | beside)[near[0]]}?" if near else ""
        raise UserError(f"{file}: no such file{hint}") from None
    except ValueError as error:  # also bytes that are no text, and a number of thousands of digits
        raise UserError(f"{file}: not valid TOML: {error}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None


def parse_override(override: str) -> dict[str, Any]:
    """`section.key=value` as nested values; a value that is no TOML is text. Raises UserError for any other form."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {override!r}: write it as section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        value = text
    nested: Any = value
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return dict(nested)


def merged(into: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`into`, changed in place: the values of `new` in the place of its own, table by table."""
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            into[key] = merged(dict(into[key]), value)
        else:
            into[key] = value
    return into
