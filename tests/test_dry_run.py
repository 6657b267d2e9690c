"""A dry run refuses what the run would refuse, says why there is no game, and writes nothing."""

from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from small_checkpoint import NO_SYSTEM, write_checkpoint

from apportion.cli import app as cli
from apportion.pipeline.core import dry_run as dry
from apportion.pipeline.runs.run import Run
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.blame import Blame
from apportion.pipeline.stages.credit import Credit


@dataclass
class Shell:
    """Runs `apportion` in this process, in a working directory of its own."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    code: int = 0
    lines: list[str] = field(default_factory=list)

    def __call__(self, *arguments: str) -> list[str]:
        """The lines on standard error; `code` is how the command ended."""
        model = (
            [] if any("model.path" in one for one in arguments) else ["--set", f"model.path={self.folder / 'model'}"]
        )
        self.monkeypatch.setattr(sys, "argv", ["apportion", *arguments, *model])
        self.capsys.readouterr()
        self.code = 0
        try:
            cli.main()
        except SystemExit as end:
            self.code = int(end.code or 0)
        captured = self.capsys.readouterr()
        self.lines = [*captured.out.splitlines(), *captured.err.splitlines()]
        return self.lines

    def refused(self, *arguments: str) -> str:
        self(*arguments)
        assert self.code == 2, self.lines
        return self.lines[-1].removeprefix("apportion: ")

    def tree(self) -> dict[str, tuple[int, int]]:
        """Everything below the working directory, with sizes and times."""
        found = sorted(self.folder.rglob("*"))
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "model")
    return Shell(tmp_path, capsys, monkeypatch)


@pytest.fixture
def team(shell: Shell) -> list[str]:
    """Options of a team on two tasks."""
    (shell.folder / "tasks.jsonl").write_text(
        '{"question": "1+1?", "answer": "2"}\n{"question": "%s", "answer": "3"}\n' % ("long " * 300)
    )
    (shell.folder / "run.toml").write_text(
        '[run]\nname = "r"\n[tasks]\npath = "tasks.jsonl"\n[[team.agents]]\nname = "boss"\nrole = "planner"\n'
        'system = "Lead."\n'
    )
    return ["-c", str(shell.folder / "run.toml")]


def said(count: int, **more: Any) -> dict[str, Any]:
    """A chat in which two agents speak in turns."""
    turns = [{"role": "assistant", "name": ("ann", "bob")[n % 2], "content": f"note {n}"} for n in range(count)]
    return {"messages": [{"role": "user", "content": "When?"}, *turns], **more}


@pytest.fixture
def imported(shell: Shell) -> Callable[..., None]:
    def run(*chats: dict[str, Any]) -> None:
        file = shell.folder / "chats.jsonl"
        file.write_text("\n".join(json.dumps({**chat, "n": n}) for n, chat in enumerate(chats)))
        shell("import", "messages", str(file), "--set", "run.name=c")
        assert shell.code == 0, shell.lines

    return run


def test_a_dry_run_in_an_empty_folder_leaves_it_empty(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    empty = shell.folder / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    for verb in ("sample", "annotate", "audit", "inject", "loop"):
        shell(verb, "--dry-run")
        assert shell.code == 2
    shell("train", "dpo", "--dry-run")
    shell("export", "out", "--dry-run")
    assert list(empty.iterdir()) == []


def test_sample_says_what_it_would_do_and_whose_prompt_is_too_long(shell: Shell, team: list[str]):
    before = shell.tree()
    lines = shell("sample", *team, "--dry-run", "--set", "model.max_model_len=256")
    assert shell.code == 0
    assert lines[-1].startswith("run r: 2 tasks, 16 rollouts in 2 shards")
    cut = [line for line in lines if line.startswith("cut: ")]
    assert [line.split(" (")[0] for line in cut] == [
        f"cut: in 1 of 2 tasks the first prompt of {name}" for name in ("planner_workers", "solo")
    ]
    assert all("model.max_model_len = 256" in line for line in cut)
    assert shell.tree() == before
    assert not any(line.startswith("cut: ") for line in shell("sample", *team, "--dry-run"))


@pytest.mark.parametrize("verb", ["sample", "loop"])
def test_a_model_that_cannot_speak_is_refused_by_dry_runs_and_runs_alike(shell: Shell, team: list[str], verb: str):
    options = [verb, *team, "--set", "loop.tasks=1", "--set", "loop.iterations=2"]

    def both() -> str:
        before = shell.tree()
        line = shell.refused(*options, "--dry-run")
        assert shell.refused(*options) == line
        assert shell.tree() == before
        return line

    write_checkpoint(shell.folder / "model", template=None)
    assert "its tokenizer has no chat template" in both()
    (shell.folder / "model/chat_template.jinja").write_text(NO_SYSTEM)
    assert "its chat template refuses the prompts of team planner_workers (System role not supported)" in both()
    write_checkpoint(shell.folder / "model")
    weights = shell.folder / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    assert "model.safetensors is damaged" in both()
    (shell.folder / "model/tokenizer.json").write_text("{}")
    write_checkpoint(shell.folder / "other")
    weights.write_bytes((shell.folder / "other/model.safetensors").read_bytes())
    assert "its tokenizer cannot be loaded" in both()
    (shell.folder / "model/config.json").write_text("[]")
    assert "config.json is not a JSON object" in both()


def test_sample_refuses_a_name_that_is_taken_and_a_run_that_is_held(shell: Shell, team: list[str], imported: Any):
    imported(said(2, answer="1871"))
    assert "run 'c' exists and was made from another" in shell.refused(
        "sample", *team, "--dry-run", "--set", "run.name=c"
    )
    lock = shell.folder / "data/runs/_locks/r.lock"
    lock.write_text("4711")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        before = shell.tree()
        assert shell.refused("sample", *team, "--dry-run").startswith("run r: process 4711 works on it: wait for it")
        assert shell.tree() == before
    assert shell("sample", *team, "--dry-run")
    assert shell.code == 0


def test_import_refuses_a_name_that_is_taken(shell: Shell, imported: Any):
    imported(said(2, answer="1871"))
    (shell.folder / "other.jsonl").write_text(json.dumps(said(3, answer="1872")))
    line = shell.refused("import", "messages", "other.jsonl", "--set", "run.name=c", "--dry-run")
    assert line.startswith("run 'c' exists and was made from another configuration, tasks or logs")


def test_annotate_says_why_there_is_no_game(shell: Shell, imported: Any):
    imported(
        said(2, success=True), said(4, success=True), said(3, answer="1871", success=True),
        said(70, answer="1871", success=True), said(90, answer="1871", success=False), said(2),
    )  # fmt: skip
    before = shell.tree()
    options = ["annotate", "--run", "c", "--set", "annotate.players=messages", "--dry-run"]
    lines = shell(*options, "--set", "annotate.on=all")
    assert shell.code == 0
    assert "run c: 1 of 1 shards to do, 4 games, " in " ".join(lines)
    assert "no game: 3 x no reference answer to score" in lines
    assert "no game: 2 x a game of 70 to 90 messages cannot be played (at most 62)" in lines
    assert "not looked at: 1 x without a verdict: not known to have failed" in lines
    lines = shell(*options)
    assert "no game: 1 x a game of 70 messages cannot be played (at most 62)" in lines
    assert "not asked for: 1 x failed (annotate.on = successes)" in lines
    assert "not asked for: 1 x without a verdict (annotate.on = successes)" in lines
    assert "not asked for: 3 x beyond annotate.limit = 1" in shell(*options, "--set", "annotate.limit=1")
    assert any("guessing gets 7.2 %" in line for line in lines)
    assert shell.tree() == before


def test_a_dry_run_imports_no_verifier_of_the_users_own(shell: Shell, imported: Any):
    imported(said(2, answer="1871", success=True))
    (shell.folder / "mine.py").write_text("raise SystemExit('imported')")
    shell("annotate", "--run", "c", "--dry-run", "--set", "annotate.value=regenerate", "--set", "tasks.verifier=mine:V")
    assert shell.code == 0, shell.lines
    assert "mine" not in sys.modules


def test_annotate_says_what_would_be_cut_and_who_plays_alone(shell: Shell, imported: Any):
    long = said(2, answer="1871", success=True)
    long["messages"][1]["content"] = "word " * 400
    alone = {"messages": [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "then", "name": "a"}]}
    imported(long, said(3, answer="1871", success=True), {**alone, "answer": "1871", "success": True})
    lines = shell("annotate", "--run", "c", "--set", "model.max_model_len=128", "--dry-run")
    (cut,) = [line for line in lines if line.startswith("cut: ")]
    assert cut.startswith("cut: 1 of 3 games do not fit in model.max_model_len = 128: ")
    assert "% of their text is left out" in cut
    assert "caution: 1 games have a single player, who gets all of the credit" in lines
    quiet = shell("annotate", "--run", "c", "--dry-run")
    assert not any(line.startswith(("cut: ", "no game: ", "not asked for: ")) for line in quiet)


def test_annotate_refuses_a_model_and_a_verifier_that_it_would_need(shell: Shell, imported: Any):
    imported(said(2, answer="1871", success=True))
    write_checkpoint(shell.folder / "mute", template=None)
    line = shell.refused("annotate", "--run", "c", "--dry-run", "--set", f"model.path={shell.folder / 'mute'}")
    assert "has no chat template" in line
    options = ["annotate", "--run", "c", "--dry-run", "--set", "annotate.value=regenerate"]
    line = shell.refused(*options, "--set", "tasks.verifier=exakt")
    assert "no such verifier; there are exact, f1, math, number; did you mean 'exact'?" in line
    own = ["--set", "tasks.verifier=nowhere:Mine", "--trust"]
    shell("annotate", "--run", "c", "--dry-run", *own)
    assert shell.code == 0  # a likelihood asks no verifier


def test_the_embedded_model_is_looked_at_without_being_put_into_the_data_folder(
    shell: Shell, imported: Any, monkeypatch: pytest.MonkeyPatch
):
    imported(said(2, answer="1871", success=True))
    made = []

    def converted(target: Path, *ours: object) -> Path:
        made.append(target)
        return write_checkpoint(target)

    monkeypatch.setattr("apportion.pipeline.engines.checkpoints._embedded", converted)
    before = shell.tree()
    shell("annotate", "--run", "c", "--dry-run", "--set", "model.path=smollm2")
    assert shell.code == 0
    assert made
    assert not any(target.is_relative_to(shell.folder) for target in made)
    assert shell.tree() == before
    assert not dry.is_dry()


def test_train_and_inject_and_audit_say_why_there_is_nothing_to_do(shell: Shell, imported: Any):
    imported(said(2, answer="1871", success=True))
    before = shell.tree()
    for trainer in ("dpo", "grpo"):
        assert "run 'c' has n" in shell.refused("train", trainer, "--run", "c", "--dry-run")
    assert "has no sampled rollouts" in shell.refused("inject", "--run", "c", "--dry-run")
    assert "has no credit to audit" in shell.refused("audit", "--run", "c", "--dry-run")
    assert shell.tree() == before


def test_export_says_which_files_it_would_write_and_refuses_a_folder_of_others(shell: Shell, imported: Any):
    imported(said(2, answer="1871", success=True))
    before = shell.tree()
    shell("export", "out", "--run", "c", "--dry-run")
    assert shell.code == 0
    assert shell.lines == ["no row for any data set: annotate the runs first (apportion annotate)"]
    assert shell.tree() == before
    (shell.folder / "mine").mkdir()
    (shell.folder / "mine/notes.txt").write_text("keep")
    assert "is there and is no export" in shell.refused("export", "mine", "--run", "c", "--dry-run")


def test_evaluate_says_what_it_would_hold_against_what(shell: Shell):
    step = {"steps": ["1 + 1 = 2", "2 + 2 = 5"], "final_answer_correct": False}
    rows = [
        {"id": f"gsm8k-{n}", "generator": "m", "problem": f"Add {n} and more?", **step, "label": 1} for n in range(3)
    ]
    file = shell.folder / "gsm8k.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    before = shell.tree()
    shell("evaluate", "process-bench", str(file), "--dry-run", "--out", "figures.json")
    assert shell.code == 0, shell.lines
    assert shell.lines[-2].startswith("would hold 3 logs against ")
    assert shell.lines[-1] == "would write figures.json"
    assert "no such localizer" in shell.refused("evaluate", "process-bench", str(file), "-l", "x", "--dry-run")
    line = shell.refused("evaluate", "process-bench", str(file), "-l", "monte_carlo", "--dry-run")
    assert "logs in a file cannot be continued" in line
    assert shell.tree() == before


def test_loop_refuses_a_folder_that_a_checkpoint_would_take_the_place_of(shell: Shell, team: list[str]):
    options = [*team, "--set", "loop.tasks=1", "--set", "loop.iterations=2", "--dry-run"]
    before = shell.tree()
    shell("loop", *options)
    assert shell.code == 0, shell.lines
    assert shell.tree() == before
    (shell.folder / "data/checkpoints/r-1").mkdir(parents=True)
    assert "exists and is no checkpoint of ours" in shell.refused("loop", *options)


def test_what_stands_is_not_done_again(shell: Shell, imported: Any, monkeypatch: pytest.MonkeyPatch):
    from scripted import ScriptedEngine

    imported(said(2, success=True))
    engine = ScriptedEngine()
    monkeypatch.setattr("apportion.pipeline.engines.running.engine_for", lambda model, root: engine)
    from apportion.pipeline.core.config import load_config

    manifest = Store(shell.folder / "data/runs").manifest("c") or {}
    config = load_config(None, (f"model.path={shell.folder / 'model'}",), manifest["config"])
    for stage in (Credit, Blame):
        planned = stage(Run(config, "c"))
        for one in planned.pending:
            planned.work(one)
    lines = shell("annotate", "--run", "c", "--dry-run")
    assert lines[-1] == "all that is asked for is current: nothing would be done"


def test_rows_set_aside_are_told_by_kind_and_no_table_is_promised_where_none_is_written(shell: Shell):
    good = {"messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "name": "a", "content": "x"}]}
    bad = [{"role": "user", "content": "Q?"}]
    kinds = [{"messages": bad}] * 3 + [{"question": 1}, [], 7, {"chosen": bad, "rejected": bad}]
    kinds += [good | {"success": "perhaps"}, good | {"reward": 7}, good]
    (shell.folder / "f.jsonl").write_text("\n".join(map(json.dumps, kinds)))
    told = [line for line in shell("import", "messages", "f.jsonl", "--dry-run") if line.startswith("set aside")]
    assert told[0] == "set aside: f.jsonl:1: no assistant message (and 2 more like it)"
    assert [line.split(":")[2] for line in told[:-1]] == ["1", "4", "5", "6", "7"]
    assert told[-1] == "set aside: 2 more for other reasons"
    told = [line for line in shell("import", "messages", "f.jsonl") if line.startswith("set aside")]
    assert told[-1] == "set aside: 2 more for other reasons, all in the table rejects"


def test_failures_beyond_the_limit_are_told_and_without_failures_no_localizer_is_praised(shell: Shell, imported: Any):
    imported(*(said(n, answer="1871", success=False) for n in (2, 3, 4)))
    lines = shell("annotate", "--run", "c", "--dry-run", "--set", "failures.limit=1")
    assert "run c: 1 failures to look at, 3 prefixes, at most 0 continuations" in lines
    assert "not looked at: 2 x beyond failures.limit = 1" in lines
    shell("runs", "remove", "c")
    imported(said(2, answer="1871", success=True))
    assert not any("guessing gets" in line for line in shell("annotate", "--run", "c", "--dry-run"))
