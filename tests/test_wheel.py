"""The package built and installed for real: from a wheel, and as a checkout; beside a user's folders of our names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_checkpoint import write_checkpoint

ROOT = Path(__file__).parent.parent
PARTS = ("LICENSE", "README.md", "pyproject.toml", "apportion", "examples", "flows", "pipeline", "schemas")
OURS = ("flows", "pipeline", "schemas")


@dataclass(frozen=True)
class Installed:
    """An environment that sees every library of this one, and its own Apportion."""

    folder: Path

    def __call__(self, command: str, *arguments: str, at: Path) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [self.folder / "bin" / command, *arguments],
            cwd=at, env={**environment, "COLUMNS": "200"}, capture_output=True, text=True, check=False,
        )  # fmt: skip


def pip(*arguments: str | Path, at: Path | None = None) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        cwd=at, env=environment, check=True, capture_output=True,
    )  # fmt: skip


def environment(folder: Path, *what: str | Path) -> Installed:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    pip("--python", folder / "bin/python", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", *what)
    return Installed(folder)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, copied with their links as `git clone` and `cp -r` do."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in PARTS:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    pip("wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, checkout)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def from_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return environment(tmp_path_factory.mktemp("wheel") / "venv", wheel)


@pytest.fixture(scope="module")
def from_checkout(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return environment(tmp_path_factory.mktemp("editable") / "venv", "--editable", checkout)


@pytest.fixture(params=["from_wheel", "from_checkout"])
def installed(request: pytest.FixtureRequest) -> Installed:
    environment: Installed = request.getfixturevalue(request.param)
    return environment


def contents(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_every_source_and_data_file_and_nothing_beside_the_package(wheel: Path, checkout: Path):
    expected = {
        f"apportion/{path.relative_to(checkout).as_posix()}"
        for name in OURS
        for path in (checkout / name).rglob("*")
        if path.suffix in (".py", ".toml", ".json")
    }
    inside = contents(wheel)
    assert expected <= inside
    assert {name.split("/")[0] for name in inside} == {"apportion"}
    assert {f"apportion/demo/project/{name}" for name in ("dyad.py", "dyad.toml", "tasks.jsonl")} <= inside


def test_a_source_distribution_builds_the_same_wheel(checkout: Path, wheel: Path, tmp_path: Path):
    code = "import sys, setuptools.build_meta as b; print(b.build_sdist(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=checkout, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    source = next(path for path in tmp_path.iterdir() if path.is_dir())
    pip("wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, source)
    assert contents(next(tmp_path.glob("*.whl"))) == contents(wheel)


def test_the_licence_stands_in_the_metadata(wheel: Path):
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    text = archive.read(name).decode()
    assert "License-Expression: Apache-2.0" in text
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_a_reader_installs_nothing_heavy(wheel: Path):
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    needed = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", archive.read(name).decode(), re.MULTILINE)
    assert set(needed) == {"duckdb", "jinja2", "numpy", "polars", "pyarrow", "pydantic", "rich", "typer"}


def test_it_starts_a_project_in_an_empty_folder(installed: Installed, tmp_path: Path):
    assert installed("apportion", "--version", at=tmp_path).stdout == "apportion 0.1.0\n"
    assert "--install-completion" in installed("apportion", "--help", at=tmp_path).stdout
    done = installed("apportion", "init", "mine", at=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine/teams/clerks.toml").exists()
    for arguments in (["--config", "demo"], ["--set", "team.file=clerks", "--set", "tasks.path=mine/tasks.jsonl"]):
        done = installed("apportion", "sample", "--dry-run", *arguments, at=tmp_path)
        assert done.returncode == 2
        assert "data/demo/owners.jsonl: no such document file" in done.stderr
    done = installed("apportion", "runs", "list", at=tmp_path)
    assert (done.returncode, done.stderr) == (0, "no runs yet; try: apportion demo\n")


def test_folders_of_a_user_called_like_ours_neither_break_it_nor_are_hidden(installed: Installed, tmp_path: Path):
    for name in OURS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"import sys\nprint('imported: {name}', file=sys.stderr)\n")
    (tmp_path / "flows/team.py").write_text((ROOT / "examples/dyad.py").read_text().replace("Dyad", "Mine"))
    (tmp_path / "model").mkdir()
    write_checkpoint(tmp_path / "model")
    (tmp_path / "own.toml").write_text(
        '[model]\npath = "model"\nmax_model_len = 64\n[team]\ntopology = "flows.team:Mine"\n'
        + "".join(f'[[team.agents]]\nname = "{role}"\nrole = "{role}"\n' for role in ("thinker", "solver"))
    )
    shutil.copy(ROOT / "examples/tasks.jsonl", tmp_path)
    own = ("--config", "own.toml", "--set", "tasks.path=tasks.jsonl", "--dry-run")
    done = installed("apportion", "sample", *own, at=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "imported: flows" in done.stderr
    assert "imported: pipeline" not in done.stderr
    assert "4 tasks, 32 rollouts" in done.stderr


CHILD = """
import os, subprocess, sys
from pathlib import Path
from apportion.pipeline.core.libraries import hush
hush(Path("data"))
print(os.environ.get("PYTHONPATH"), flush=True)
subprocess.run([sys.executable, "-c", "import apportion.flows; print(apportion.__file__)"], check=True)
"""


def test_processes_of_ours_find_the_package_without_a_way_to_our_folders(installed: Installed, tmp_path: Path):
    (tmp_path / "child.py").write_text(CHILD)
    done = installed("python", "child.py", at=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("None\n")


def test_importing_it_loads_nothing_else(installed: Installed, tmp_path: Path):
    code = "import apportion, sys; print(sorted({name.partition('.')[0] for name in sys.modules} & set(sys.argv[1:])))"
    heavy = ("torch", "vllm", "prefect", "typer", "rich", "polars", "pyarrow", "duckdb", "pydantic", "numpy")
    assert installed("python", "-c", code, *heavy, at=tmp_path).stdout == "[]\n"
