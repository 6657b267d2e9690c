"""The command line: exit codes, one clear line on standard error, and a dry run that writes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_checkpoint import write_checkpoint

from apportion.cli import app as cli
from apportion.pipeline.runs.store import Store
from apportion.schemas import TABLES

ROOT = Path(__file__).parent.parent
LONG = "a" * 300


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


class Command:
    """Runs `apportion` in this process, below a data folder of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        self.data = folder / "data"
        model = folder / "model"
        model.mkdir()
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (model / name).write_text("{}")
        (folder / "tasks.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n{"question": "no answer"}\n')
        self.good = folder / "good.toml"
        self.good.write_text(
            f'[run]\nname = "r"\n[model]\npath = "{model}"\n[tasks]\npath = "{folder / "tasks.jsonl"}"\n'
            '[[team.agents]]\nname = "boss"\nrole = "planner"\n'
        )

    def __call__(self, *arguments: str) -> Answer:
        at_data = ["--set", f"run.data={self.data}"]
        self._monkeypatch.setattr(sys, "argv", ["apportion", *arguments, *at_data])
        self._capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = self._capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    def refused(self, *arguments: str, code: int = 2) -> str:
        """The one line with which a command ends."""
        answer = self(*arguments)
        assert answer.code == code
        assert answer.out == ""
        assert answer.err.endswith("\n")
        (line,) = answer.err.splitlines()
        assert line.startswith("apportion: ")
        return line.removeprefix("apportion: ")

    @property
    def store(self) -> Store:
        return Store(self.data / "runs")

    def write_tasks(self) -> Path:
        """A run `r` with one shard of one table."""
        row = {"task_id": "t", "source": "toy", "question": "q", "references": ["x"]}
        return self.store.write_shard("tasks", "r", "00000", TABLES["tasks"].from_rows([row]), "f")


@pytest.fixture
def apportion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, monkeypatch, capsys)


def test_missing_config_file(apportion: Command, tmp_path: Path):
    line = apportion.refused("sample", "-c", str(tmp_path / "goood.toml"))
    assert line == f"{tmp_path / 'goood.toml'}: no such file; did you mean {tmp_path / 'good.toml'}?"


def test_unknown_key(apportion: Command):
    line = apportion.refused("sample", "--set", "sample.tempeature=1")
    assert line == "config: unknown key 'sample.tempeature'; did you mean 'temperature'?"


def test_missing_task_file(apportion: Command, tmp_path: Path):
    line = apportion.refused("sample", "-c", str(apportion.good), "--set", f"tasks.path={tmp_path}/task.jsonl")
    assert line == f"{tmp_path}/task.jsonl: no such file or folder; near it: tasks.jsonl"


def test_no_tasks_named(apportion: Command):
    assert "tasks.path is empty" in apportion.refused("sample", "-c", str(apportion.good), "--set", "tasks.path=")


@pytest.mark.parametrize(("path", "problem"), [("nowhere", "no such checkpoint folder"), (".", "has no config.json")])
def test_model_path_that_is_none(apportion: Command, tmp_path: Path, path: str, problem: str):
    chosen = str(tmp_path / path)
    line = apportion.refused("sample", "-c", str(apportion.good), "--set", f"model.path={chosen}")
    assert line.startswith(f"model.path = {chosen!r}: ")
    assert problem in line


def test_no_team(apportion: Command, tmp_path: Path):
    assert "team.agents is empty" in apportion.refused("sample", "--set", f"tasks.path={tmp_path}/tasks.jsonl")


def test_unknown_verifier(apportion: Command):
    line = apportion.refused("sample", "-c", str(apportion.good), "--set", "tasks.verifier=exakt")
    assert "tasks.verifier = 'exakt': no such verifier" in line
    assert "did you mean 'exact'?" in line


def test_unknown_import_format(apportion: Command, tmp_path: Path):
    line = apportion.refused("import", "who_and_wen", str(tmp_path))
    assert "import FORMAT = 'who_and_wen': no such log format" in line
    assert "did you mean 'who-and-when'?" in line


def test_import_of_a_missing_path(apportion: Command, tmp_path: Path):
    assert f"{tmp_path}/no.jsonl: no such file" in apportion.refused("import", "messages", f"{tmp_path}/no.jsonl")


@pytest.mark.parametrize("command", [("runs", "show"), ("runs", "verify"), ("runs", "remove")])
def test_unknown_run(apportion: Command, command: tuple[str, str]):
    apportion.write_tasks()
    assert apportion.refused(*command, "nope").startswith("run nope: not in ")


def test_annotate_of_an_unknown_run_or_of_none(apportion: Command):
    assert "no runs in " in apportion.refused("annotate")
    apportion.write_tasks()
    line = apportion.refused("annotate", "--run", "nope")
    assert line == "run 'nope' has no trajectories; runs here: r"


def test_run_id_that_cannot_be_one(apportion: Command):
    assert apportion.refused("runs", "show", "../r").startswith("run id '../r': not a letter")


@pytest.mark.parametrize(
    "query", ["CREATE TABLE x (i INT)", "COPY tasks TO 'x.csv'", "DELETE FROM tasks", "SELECT 1; SELECT 2"]
)
def test_sql_that_writes_is_refused(apportion: Command, query: str):
    apportion.write_tasks()
    assert "only one SELECT" in apportion.refused("sql", query)


def test_sql_error_is_one_line(apportion: Command):
    apportion.write_tasks()
    assert apportion.refused("sql", "SELECT quesion FROM tasks").startswith("sql: ")


def test_sql_prints_data_alone_on_standard_output(apportion: Command):
    apportion.write_tasks()
    answer = apportion("sql", "SELECT question FROM tasks", "--format", "json")
    assert (answer.code, json.loads(answer.out), answer.err) == (0, [{"question": "q"}], "")


def test_dry_run_of_sample_says_what_it_would_do_and_writes_nothing(apportion: Command):
    write_checkpoint(apportion.folder / "model")
    answer = apportion("sample", "-c", str(apportion.good), "--dry-run")
    assert answer.code == 0
    assert answer.out == ""
    aside, planned = answer.err.splitlines()
    assert aside.startswith(f"set aside: {apportion.folder / 'tasks.jsonl'}:2: ")
    assert planned.startswith("run r: 1 tasks, 8 rollouts in 2 shards, 0 already done; at most ")
    assert not apportion.data.exists()


def test_dry_run_of_import_writes_nothing_and_the_import_itself_does(apportion: Command, tmp_path: Path):
    logs = tmp_path / "logs.jsonl"
    said = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "rain"}]
    logs.write_text(json.dumps({"messages": said, "answer": "rain"}))
    answer = apportion("import", "messages", str(logs), "--dry-run", "--set", "run.name=logs")
    assert (answer.code, answer.out) == (0, "")
    note, counts = answer.err.splitlines(keepends=True)
    assert note.startswith("note: no assistant message has a `name`")
    assert counts == "would import 1 trajectories, 2 messages, 0 rejected rows as run logs\n"
    assert not apportion.data.exists()
    answer = apportion("import", "messages", str(logs), "--set", "run.name=logs")
    assert answer.code == 0
    assert "\nrun logs: 1 trajectories, 2 messages" in answer.err
    assert apportion.store.read("messages", "logs").num_rows == 2


def test_verify_ends_with_1_on_a_damaged_file_and_0_on_a_whole_run(apportion: Command):
    path = apportion.write_tasks()
    assert apportion("runs", "verify").code == 0
    content = bytearray(path.read_bytes())
    content[8:40] = bytes(32)
    path.write_bytes(bytes(content))
    answer = apportion("runs", "verify")
    assert answer.code == 1
    assert str(path) in answer.err


def test_failed_work_ends_with_1_in_one_line(apportion: Command):
    apportion.write_tasks()
    apportion.store.write_manifest("r", {"kind": "sample"})
    manifest = apportion.data / "runs/_manifests/r.json"
    manifest.write_text("{")
    assert apportion.refused("runs", "show", "r", code=1).startswith(f"{manifest}: not JSON")


def test_runs_are_listed_shown_and_removed(apportion: Command):
    assert "no runs yet" in apportion("runs", "list").err
    apportion.write_tasks()
    assert [run["run"] for run in json.loads(apportion("runs", "list", "-f", "json").out)] == ["r"]
    shown = json.loads(apportion("runs", "show", "r", "-f", "json").out)
    assert [(table["table"], table["rows"]) for table in shown["tables"]] == [("tasks", 1)]
    assert apportion("runs", "remove", "r").code == 0
    assert json.loads(apportion("runs", "list", "-f", "json").out) == []


def test_interrupt_says_that_the_work_goes_on(apportion: Command, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("apportion.pipeline.stages.sample.Sample", interrupted)
    assert "resumes where it stopped" in apportion.refused("sample", code=130)


def test_the_program_itself_ends_with_2_and_one_line(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "apportion.cli.app", "sample", "-c", str(tmp_path / "no.toml")],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"apportion: {tmp_path / 'no.toml'}: no such file\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((), ["demo", "sample", "import", "annotate", "sql", "runs"]), (("sample",), ["--config", "--set", "--dry-run"])],
)
def test_help_names_the_commands_and_options(
    arguments: tuple[str, ...], words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["apportion", *arguments, "--help"])
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    shown = capsys.readouterr().out
    assert all(word in shown for word in words)


@pytest.mark.parametrize(
    "arguments",
    [
        ("import", "messages", LONG),
        ("runs", "show", LONG),
        ("annotate", "--run", LONG),
        ("export", LONG, "--run", "r"),
    ],
)
def test_a_name_that_no_file_system_takes_is_named_in_one_short_line(apportion: Command, arguments: tuple[str, ...]):
    apportion.write_tasks()
    line = apportion.refused(*arguments)
    assert "too long (" in line
    assert len(line) < 200


def test_a_long_run_name_leaves_room_for_what_a_loop_adds_to_it(apportion: Command):
    name = "a" * 127
    line = apportion.refused("loop", "-c", str(apportion.good), "--set", f"run.name={name}", "--dry-run")
    assert line.startswith("config: run.name is too long for a loop (127 characters, at most 126: ")


def test_the_default_run_is_the_newest_by_its_manifest(apportion: Command):
    for name in ("older", "newer"):
        apportion.store.write_manifest(name, {"kind": "import", "config": {}})
        row = {"trajectory_id": name, "task_id": "t", "team": "duo", "origin": "imported"}
        apportion.store.write_shard("trajectories", name, "imported-0", TABLES["trajectories"].from_rows([row]), "f")
    for path in apportion.data.rglob("*.parquet"):  # as a copy may leave them
        os.utime(path, (1e9 * ("older" in str(path)), 1e9))
    answer = apportion("export", "out", "--dry-run", "--set", f"model.path={apportion.folder / 'model'}")
    assert "files' times" not in answer.err
    listed = {run["run"]: run["created"] for run in json.loads(apportion("runs", "list", "-f", "json").out)}
    assert apportion("annotate", "--dry-run", "--set", "model.path=nowhere").err.count("\n") == 1
    assert listed["older"] <= listed["newer"]
    from apportion.cli.common import config_of_run

    assert config_of_run(None, [f"run.data={apportion.data}"], None)[1] == "newer"
    manifest = apportion.data / "runs/_manifests/newer.json"
    manifest.write_text(json.dumps({"kind": "import", "config": {}}))
    assert config_of_run(None, [f"run.data={apportion.data}"], None)[1] == "older"
    told = apportion("runs", "list").err
    assert told == "created, of 1 of 2 runs (newer), is the time of its oldest file, which a copy changes\n"
    assert "taken for the newest by its files' times" in apportion("annotate", "--set", "model.path=nowhere").err


def test_unknown_option_ends_with_2(apportion: Command):
    assert apportion("sample", "--fast").code == 2
