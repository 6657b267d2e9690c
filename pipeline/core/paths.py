"""Where the files that a configuration names lie, and how they were written: ids are made from what was written.

A relative path in a TOML file is looked for beside that file, then in the working directory, then in the package; one
given by `--set` or on the command line is relative to the working directory. So is the file of `file.py:Class`. The
TOML files that the package brings have nothing beside them but each other: their `data/...` is the data folder of the
run (`run.data`). `demo` and `clerks`, without a folder or an ending, name a configuration and a team of the package.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from apportion.pipeline.core.registry import FAMILIES

PACKAGE = Path(__file__).resolve().parents[1]
SHIPPED = PACKAGE / "configs"
TEAMS = SHIPPED / "teams"
DATA = "data"
"""Default of `run.data`, as the shipped files write it."""
EMBEDDED = "smollm2"
"""The one value of model.path that is never a path."""

Values = dict[str, Any]
"""A configuration as nested tables, before or after its validation."""

_CODE = tuple(key.split(".") for key in (family.key for family in FAMILIES.values()) if key.count(".") == 1)
"""Keys that may name a file of code, `file.py:Class`."""
_KEYS = (("run", "data"), ("model", "path"), ("tasks", "path"), ("export", "evaluation"), ("team", "file"))


class Beside(str):
    """A path as it stands in a TOML file, with the folder of that file."""

    folder: Path


def change_paths(values: Values, change: Callable[[str, str], str]) -> None:
    """Put `change(key, path)` in the place of every path in `values`; run.data comes first."""
    for section, key in _KEYS:
        table = values.get(section)
        if isinstance(table, dict) and isinstance(table.get(key), str):
            table[key] = change(f"{section}.{key}", table[key])
    policies = values.get("policies")
    for name, policy in policies.items() if isinstance(policies, dict) else ():
        if isinstance(policy, dict) and isinstance(policy.get("path"), str):
            policy["path"] = change(f"policies.{name}.path", policy["path"])
    for section, key in _CODE:
        table = values.get(section)
        if isinstance(table, dict) and isinstance(table.get(key), str):
            table[key] = _changed_code(f"{section}.{key}", table[key], change)
    team = values.get("team")
    tools = team.get("tools") if isinstance(team, dict) else None
    for tool in tools.values() if isinstance(tools, dict) else ():
        documents = tool.get("documents") if isinstance(tool, dict) else None
        if isinstance(documents, str):
            tool["documents"] = change("documents", documents)
        elif isinstance(documents, list):
            tool["documents"] = [change("documents", one) if isinstance(one, str) else one for one in documents]
        if isinstance(tool, dict) and isinstance(tool.get("kind"), str):
            tool["kind"] = _changed_code("kind", tool["kind"], change)


def code_file(name: str) -> str:
    """The file of `file.py:Class`; empty for other names."""
    file, _, _ = name.rpartition(":")
    return file if file.endswith(".py") else ""


def _changed_code(key: str, name: str, change: Callable[[str, str], str]) -> str:
    """`name` with the file in it changed."""
    if not (file := code_file(name)):
        return name
    changed = change(key, _marked(file, name.folder) if isinstance(name, Beside) else file)
    whole = changed + name[len(file) :]
    return _marked(whole, changed.folder) if isinstance(changed, Beside) else whole


def _marked(path: str, folder: Path) -> Beside:
    marked = Beside(path)
    marked.folder = folder
    return marked


def from_file(values: Values, file: Path) -> Values:
    """The tables of a TOML file, whose paths know where it lies."""

    change_paths(values, lambda key, path: _marked(path, file.parent))
    return values


def locate(path: str, folder: Path = SHIPPED) -> Path:
    """A TOML file: the path itself, else one that the package brings (`configs/demo.toml`, `demo.toml` or `demo`).

    `folder`: where the package keeps files of this kind.
    """
    places = [*_beside(path), Path(path).expanduser(), PACKAGE / path, SHIPPED / path]
    if is_bare(path):
        places.append(folder / f"{path}.toml")
    return next((place for place in places if os.path.isfile(place)), places[0])


def is_bare(path: str) -> bool:
    """Whether a path has neither folder nor ending, as the package's own files may be called."""
    return bool(path) and Path(path).name == path and not Path(path).suffix


def settle(values: Values) -> None:
    """Turn every path into one that opens from the working directory; `written` keeps how it was written."""
    written = dict(values.get("written", {}))

    def find(key: str, path: str) -> str:
        place = _place(key, path, values)
        if place != path:
            written[place] = str(path)
        return place

    change_paths(values, find)
    if written:
        values["written"] = written


def as_written(written: Mapping[str, str], path: str) -> str:
    """How a path was written, or would be: what lies below a folder keeps its place below it."""
    if file := code_file(path):
        return as_written(written, file) + path[len(file) :]
    for place in (path, *map(str, Path(path).parents)):
        if place in written:
            return written[place] + path[len(place) :]
    return path


def to_store(values: Values) -> Values:
    """A configuration for a manifest: with absolute paths, which open from any working directory."""
    values = deepcopy(values)
    given = values["written"]
    written = {os.path.abspath(place): text for place, text in given.items()}

    def fix(key: str, path: str) -> str:
        if key != "run.data" and (_is_name(path) or not os.path.exists(path)):
            return path
        place = os.path.abspath(path)
        if place != path:
            written.setdefault(place, as_written(given, path))
        return place

    change_paths(values, fix)
    return values | {"written": written}


def from_store(values: Values, root: Path) -> Values:
    """A manifest's configuration, found in the data folder `root`: its paths follow a project that moved or was copied.

    Manifests of older versions kept paths as they were written, relative to a working directory that is not known.
    """
    values = deepcopy(values)
    old, given = _data(values), values.pop("written", {})
    written: dict[str, str] = {}

    def follow(path: str) -> str:
        if os.path.isabs(path) != os.path.isabs(old):
            return path
        moved = os.path.normpath(os.path.join(os.path.abspath(root), os.path.relpath(path, old)))
        return moved if os.path.exists(moved) else path

    def note(place: str, text: str) -> str:
        if os.path.abspath(text) == os.path.abspath(place):
            return text
        place = os.path.relpath(place) if Path(place).is_relative_to(os.getcwd()) else place
        written[place] = text
        return place

    def fix(key: str, path: str) -> str:
        return path if key == "run.data" or _is_name(path) else note(follow(path), as_written(given, path))

    for place, text in given.items():
        note(str(root) if place == old else follow(place), text)
    change_paths(values, fix)
    values["run"] = {**values.get("run", {}), "data": str(root)}
    return values | ({"written": written} if written else {})


def as_told(values: Values) -> Values:
    """A configuration for other people: every path as it was written."""
    values = deepcopy(values)
    written = values.pop("written")
    change_paths(values, lambda key, path: as_written(written, path))
    return values


def _place(key: str, path: str, values: Values) -> str:
    """Where `path` is, or is to be."""
    expanded = str(Path(path).expanduser()) if path.startswith("~") else str(path)
    if not isinstance(path, Beside) or _is_name(path) or os.path.isabs(expanded):
        return expanded
    places = [path.folder / path, Path(path), PACKAGE / path]
    if path.folder.resolve().is_relative_to(SHIPPED):
        first, *rest = Path(path).parts
        places = [Path(_data(values), *rest) if first == DATA else Path(path), *places]
    found = next((place for place in places if os.path.exists(str(place))), None)
    if found is None and _on_hub(key, values):
        return expanded
    return str(found or places[0])


def _on_hub(key: str, values: Values) -> bool:
    """Whether the path at `key` may be a name on the hub. A policy is like the model in what it does not say."""
    section, *names = key.split(".")
    table = values.get(section)
    if section == "policies" and isinstance(table, dict):
        model = values.get("model")
        table = {**(model if isinstance(model, dict) else {}), **table[names[0]]}
    return isinstance(table, dict) and bool(table.get("hub"))


def _beside(path: str) -> list[Path]:
    """Where a path of a TOML file lies if it lies beside it; nothing for other paths."""
    return [path.folder / path] if isinstance(path, Beside) else []


def _is_name(path: str) -> bool:
    return path in ("", EMBEDDED)


def _data(values: Values) -> str:
    run = values.get("run")
    return str(run.get("data", DATA)) if isinstance(run, dict) else DATA
