"""Who may import whom, read from the source: each heavy library behind its own door, and nothing of ours looks outward.

A file that goes through another door stands in a list here, with the reason. The lists may only get shorter.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("apportion", "pipeline", "flows", "schemas")
HEAVY = ("torch", "vllm", "prefect", "transformers", "trl")

DOORS: dict[str, tuple[str, ...]] = {
    "vllm": ("pipeline/engines/",),
    "trl": ("pipeline/training/",),
    "prefect": ("flows/",),
    "typer": ("apportion/cli/",),
    "rich": ("apportion/cli/", "apportion/demo/"),
    "peft": ("pipeline/training/",),
    "accelerate": ("pipeline/training/",),
}
"""Library -> the folders in which it may be imported."""

EXCEPTIONS: dict[str, dict[str, str]] = {
    "rich": {"pipeline/runs/sql.py": "tables for people are laid out where queries are answered"},
}
"""Library -> file that imports it elsewhere, with the reason."""

FAMILIES = ("advantages", "importers", "localizers", "repair", "tasks", "teams", "tools", "values", "verifiers")
LEVELS: tuple[tuple[str, ...], ...] = (
    ("core",),
    ("schemas",),
    ("runs", "trajectory"),
    ("credit", "engines"),
    ("play", "games", "datasets", "training", "audit", "evaluation", "faults"),
    FAMILIES,
    ("stages",),
    ("flows",),
    ("apportion",),
)
"""Rooms from the ground up. A room imports those below it and its neighbours on its level; from above it imports a
family's protocol (`base`) alone."""

OUTWARD = ("benchmarks", "tests", "research", "examples")


def files(*folders: str) -> list[Path]:
    """The source files below some folders; what is linked into `apportion` counts where it lies."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    linked = tuple(ROOT / "apportion" / name for name in OURS)
    return sorted(path for path in found if not any(path.is_relative_to(link) for link in linked))


def imports(source: str, package: str = "") -> Iterator[str]:
    """Dotted names of everything that a file imports, wherever in it, also for types alone and by a call."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if package else []
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name | ast.Attribute)
            and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr) in ("import_module", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value)


@cache
def imported_by(path: Path) -> set[str]:
    parts = path.relative_to(ROOT).parent.parts
    package = ".".join(parts if parts[0] == "apportion" else ("apportion", *parts))
    return set(imports(path.read_text(encoding="utf-8"), package))


def users(library: str, *folders: str) -> set[str]:
    """The files below some folders that import a library or a part of it."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in files(*folders)
        if any(name.split(".")[0] == library for name in imported_by(path))
    }


@pytest.mark.parametrize("library", DOORS)
def test_a_library_is_imported_behind_its_own_door_alone(library: str):
    elsewhere = {name for name in users(library, *OURS) if not name.startswith(DOORS[library])}
    assert elsewhere == set(EXCEPTIONS.get(library, ()))


def test_the_doors_that_matter_are_found_by_this_reading():
    for library in ("vllm", "trl", "prefect", "typer"):
        assert any(name.startswith(DOORS[library]) for name in users(library, *OURS)), library


def test_nothing_of_the_package_imports_what_stands_around_it():
    assert {library: users(library, *OURS) for library in OUTWARD} == {library: set() for library in OUTWARD}


def room(module: str) -> str:
    """The room of a module of ours by its dotted name; empty for others."""
    parts = module.split(".")
    if parts[0] != "apportion":
        return ""
    if parts[1:2] == ["pipeline"]:
        return parts[2] if len(parts) > 2 else "pipeline"
    return parts[1] if parts[1:2] in (["flows"], ["schemas"]) else "apportion"


def arrows() -> set[tuple[str, str, str]]:
    """(file, its room, what it imports of another room)."""
    found = set()
    for path in files(*OURS):
        parts = path.relative_to(ROOT).with_suffix("").parts
        here = room(".".join(parts if parts[0] == "apportion" else ("apportion", *parts)))
        for name in imported_by(path):
            if name != "apportion" and room(name) not in ("", here, "pipeline"):
                found.add((path.relative_to(ROOT).as_posix(), here, name))
    return found


def test_every_room_has_its_level():
    rooms = {path.name for path in (ROOT / "pipeline").iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    levels = {name for level in LEVELS for name in level}
    assert rooms | {"apportion", "flows", "schemas"} == levels


def test_no_arrow_points_upward():
    level = {name: height for height, names in enumerate(LEVELS) for name in names}
    upward = {
        (file, name)
        for file, here, name in arrows()
        if level[room(name)] > level[here]
        and not (room(name) in FAMILIES and ".base" in name and level[here] > level["trajectory"])
    }
    assert upward == set()


def test_every_import_form_is_seen():
    source = """
import a.b
from c import d
def f():
    import e
    from .g import h
    from .. import i
    import importlib
    importlib.import_module("j.k")
if TYPE_CHECKING:
    from l import m
"""
    found = {name.split(".")[0] for name in imports(source)}
    assert {"a", "c", "e", "j", "l"} <= found
    assert {"top.sub.g", "top.i"} <= set(imports(source, "top.sub"))


def loaded(code: str) -> set[str]:
    """The heavy libraries that a new process has loaded once it has run some code."""
    told = f"import sys, json\n{code}\nprint('\\n' + json.dumps([n for n in {HEAVY!r} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


HELP = """
sys.argv = ["apportion", *{arguments!r}]
from apportion.cli import app
try:
    app.main()
except SystemExit as end:
    assert end.code == 0, end.code
"""


@pytest.mark.parametrize("arguments", [["--help"], ["sample", "--help"], ["evaluate", "--help"], ["runs", "--help"]])
def test_help_is_told_without_any_heavy_library(arguments: list[str]):
    assert loaded(HELP.format(arguments=arguments)) == set()


@pytest.mark.parametrize(
    "module",
    [
        "apportion.cli.app",
        "apportion.pipeline.core.config",
        "apportion.pipeline.runs.store",
        "apportion.pipeline.runs.sql",
        "schemas",
    ],
)
def test_what_reads_and_configures_imports_no_heavy_library(module: str):
    assert loaded(f"import {module}") == set()


ABSENT = """
import importlib, pkgutil
for name in {absent!r}:
    sys.modules[name] = None
import apportion
for module in pkgutil.walk_packages(apportion.__path__, "apportion."):
    if not module.name.startswith({behind!r}):
        importlib.import_module(module.name)
"""


def test_everything_imports_without_the_libraries_behind_doors_up_to_the_doors():
    doors = ("apportion.cli", "apportion.demo", "apportion.flows", "apportion.__main__", "apportion.pipeline.training.")
    for absent, behind in (
        (("vllm", "prefect", "typer"), doors),  # an engine asks for vLLM when it is started
        (tuple(DOORS), (*doors, "apportion.pipeline.engines.")),
    ):
        loaded("import sys\n" + ABSENT.format(absent=absent, behind=behind))


def test_every_stage_imports_without_torch_vllm_and_prefect():
    stages = sorted(
        f"apportion.pipeline.stages.{path.stem}" for path in files("pipeline/stages") if path.stem != "__init__"
    )
    assert loaded(f"import {', '.join(stages)}") == set()
