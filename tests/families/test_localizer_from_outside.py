"""A localizer in one file outside the package: `annotate` and `evaluate` take it, its parameters and its mistakes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedEngine

from apportion.cli import app as cli
from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.core.dry_run import begin
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.evaluation.labelled import read
from apportion.pipeline.localizers.base import make
from apportion.pipeline.runs.run import Run
from apportion.pipeline.runs.store import Store
from apportion.pipeline.runs.trust import own_code
from apportion.pipeline.stages import evaluate
from apportion.pipeline.stages.blame import Blame
from apportion.pipeline.stages.imports import Import
from apportion.pipeline.stages.stage import play

MINE = '''
import numpy as np
from pydantic import Field

from apportion.pipeline.localizers.base import Localizer, by_step


class Shouting(Localizer):
    """The step with the most exclamation marks, from `least` on."""

    least: int = Field(1, ge=1)
    """Exclamation marks."""

    def judge(self, cases, means):
        marks = [np.array([step.text.count("!") for step in case.steps], dtype=float) for case in cases]
        return [
            by_step(case, row, reason=None if row.max() >= self.least else "nobody shouts")
            for case, row in zip(cases, marks)
        ]


class Deaf(Localizer):
    """Has no `judge`."""


class random(Shouting):
    """Is called like another one."""


class Stranger:
    """Is none."""
'''
SAID = (("ann", "So it begins"), ("bob", "It is snow!!"), ("ann", "snow"))
LOCALIZERS = (
    "random", "constant_step_from_start", "constant_agent", "first_speaker", "last_speaker",
    "most_talkative_speaker", "structure", "learned", "generative_judge", "value_drop",
)  # fmt: skip


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    return f"{tmp_path / 'mine.py'}:Shouting"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    engine = ScriptedEngine()
    monkeypatch.setattr("apportion.pipeline.engines.running.engine_for", lambda model, root: engine)
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")
    return folder


def who_and_when(folder: Path, number: int = 4) -> Path:
    """Labelled failures, each of its own question."""
    logs = folder / "logs"
    logs.mkdir()
    for i in range(number):
        history = [{"role": "assistant", "name": name, "content": text} for name, text in SAID]
        log = {"question": f"Why {i}?", "question_ID": f"q{i}", "ground_truth": "rain", "history": history}
        labels = {"mistake_agent": "bob", "mistake_step": "1", "mistake_reason": "Wrong."}
        (logs / f"{i}.json").write_text(json.dumps(log | labels))
    return logs


def configured(tmp_path: Path, model: Path, *sets: str) -> Config:
    return load_config(None, (f"run.data={tmp_path / 'data'}", f"model.path={model}", "run.name=logs", *sets))


def blamed(config: Config) -> list[dict[str, Any]]:
    """The rows of `localizations` of the configured localizer."""
    stage = Blame(Run(config, "logs"))
    play(stage)
    (shard,) = stage.shards
    found: list[dict[str, Any]] = Store(config.store_root).read("localizations", "logs", shard.name).to_pylist()
    return found


def test_annotate_takes_it_and_its_parameters(tmp_path: Path, model: Path, mine: str):
    config = configured(tmp_path, model, f"failures.localizer={mine}")
    play(Import(config, "who-and-when", who_and_when(tmp_path)))
    rows = blamed(config)
    assert [(row["localizer"], row["first_error"], row["agent"]) for row in rows] == [("Shouting", 2, "bob")] * 4
    assert not Blame(Run(config, "logs")).pending
    strict = configured(tmp_path, model, f"failures.localizer={mine}", "failures.options.least=3")
    assert Blame(Run(strict, "logs")).pending, "another parameter gives other rows"
    assert {(row["first_error"], row["reason"]) for row in blamed(strict)} == {(None, "nobody shouts")}
    code = Path(mine.rpartition(":")[0])
    code.write_text(code.read_text().replace('"!"', '"!!"'))
    assert Blame(Run(strict, "logs")).pending, "and so does other code"


def test_evaluate_takes_it_and_its_parameters(
    tmp_path: Path, mine: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    sets = ["--set", f"run.data={tmp_path / 'data'}", "--set", "failures.options.least=2"]
    arguments = ["evaluate", "who-and-when", str(who_and_when(tmp_path)), "-l", mine, *sets, "--format", "json"]
    monkeypatch.setattr(sys, "argv", ["apportion", *arguments])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    figures = json.loads(capsys.readouterr().out)["figures"]
    (row,) = (row for row in figures if (row["localizer"], row["logs"]) == ("Shouting", "all"))
    assert (row["step"], row["agent"]) == (1, 1)


@pytest.mark.parametrize("name", LOCALIZERS)
def test_what_evaluate_names_can_be_named_for_a_runs_failures(tmp_path: Path, model: Path, name: str):
    config = configured(tmp_path, model, f"failures.localizer={name}")
    play(Import(config, "who-and-when", who_and_when(tmp_path)))
    rows = blamed(config)
    assert [row["localizer"] for row in rows] == [name] * 4
    if name in ("constant_step_from_start", "constant_agent", "structure"):  # they learn from the other labelled logs
        assert {(row["first_error"], row["agent"]) for row in rows} == {(2, "bob")}


def test_without_labelled_logs_what_learns_names_nothing_and_says_why(tmp_path: Path, model: Path):
    config = configured(tmp_path, model, "failures.localizer=structure")
    lines = [
        {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "x"}], "success": False}
    ]
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, lines)))
    play(Import(config, "messages", tmp_path / "chats.jsonl"))
    (row,) = blamed(config)
    assert (row["first_error"], row["reason"]) == (None, "it learns from labelled logs, and has seen none")


def test_a_mistake_is_answered_with_the_nearest_name(tmp_path: Path, mine: str):
    with pytest.raises(UserError, match=r"failures\.localizer = 'monte_calro': .* did you mean 'monte_carlo'\?"):
        load_config(None, ("failures.localizer=monte_calro",))
    with pytest.raises(UserError, match=r"did you mean 'rollouts'\?"):
        load_config(None, ("failures.monte_carlo.rolouts=3",))
    with pytest.raises(UserError, match=r"did you mean 'least'\?"):
        make(mine, {"leest": 2})
    with pytest.raises(UserError, match=r"least"):
        make(mine, {"least": 0})
    with pytest.raises(UserError, match=r"did you mean 'Shouting'\?"):
        make(mine.replace("Shouting", "Shoutin"))
    with pytest.raises(UserError, match="it has no 'judge'"):
        make(mine.replace("Shouting", "Deaf"))
    with pytest.raises(UserError, match="is no subclass of"):
        make(mine.replace("Shouting", "Stranger"))


def test_parameters_stand_in_a_table_of_the_methods_name_or_in_the_section():
    section = load_config(None, ("failures.margin=0.2", "failures.monte_carlo.rollouts=7")).failures
    assert section.parameters("monte_carlo") == {"rollouts": 7, "margin": 0.2}
    assert section.parameters("value_drop") == {"margin": 0.2}
    assert section.parameters("structure") == {}


def test_its_code_is_run_only_where_this_call_names_it(mine: str):
    config = load_config(None, (f"failures.localizer={mine}", "failures.options.least=2"))
    assert own_code(config) == {"failures.localizer": mine, "failures.options": '{"least": 2}'}


def test_a_class_called_like_another_localizer_is_refused(tmp_path: Path, model: Path, mine: str):
    config = configured(tmp_path, model, f"failures.localizer={mine.replace('Shouting', 'random')}")
    play(Import(config, "who-and-when", who_and_when(tmp_path)))
    with pytest.raises(UserError, match="there is a localizer 'random'; give the class another name"):
        Blame(Run(config, "logs"))


def test_a_dry_run_imports_none_of_it(tmp_path: Path, model: Path):
    (tmp_path / "bomb.py").write_text("raise SystemExit('imported')")
    config = configured(tmp_path, model, f"failures.localizer={tmp_path / 'bomb.py'}:Bomb")
    logs = who_and_when(tmp_path)
    play(Import(config, "who-and-when", logs))
    begin(True)
    try:
        stage = Blame(Run(config, "logs"))
        lines = list(stage.foretell())
        assert "does not import failures.localizer" in lines[0]
        assert "4 failures to look at" in lines[1]
        names = (config.failures.localizer,)
        told = evaluate.foretell(evaluate.plan(config, read("who-and-when", logs).cases, evaluate.Choices(names)))
        assert told[-1].startswith("would hold 4 logs against 2 localizers: structure, ")
    finally:
        begin(False)
