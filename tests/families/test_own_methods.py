"""A method of the user's own is one file outside the package, used by configuration alone, parameters included."""

from __future__ import annotations

import json
import os
import sys

import pytest

from apportion.cli import app as cli
from apportion.cli.common import config_of_run
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.play.team import nature_for
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages import advantages
from apportion.pipeline.stages.sample import Sample

ADVANTAGE = '''
from typing import ClassVar

import polars as pl
from pydantic import Field

from apportion.pipeline.advantages.base import Advantage, Inputs


class Scaled(Advantage):
    """A = scale (2 R - 1)."""

    name: ClassVar[str] = "scaled"
    scale: float = Field(1.0, gt=0)

    def advantages(self, inputs: Inputs) -> pl.DataFrame:
        rewards = inputs.rollouts().select(
            "trajectory_id", reward="outcome", reward_parts=pl.struct("outcome"), group_mean=0.0, group_std=0.0,
            group_size=1, degenerate=False, advantage=self.scale * (2 * pl.col("outcome") - 1),
        )
        return self.rows(inputs.spoken(), rewards, ["trajectory_id"])
'''
RELAY = '''
from typing import ClassVar

from apportion.pipeline.teams.base import Topology


class Relay(Topology):
    """The agent writes `rounds` times; its last message is the answer."""

    name: ClassVar[str] = "relay"
    answerer: ClassVar[str] = "player"
    rounds: int = 1

    def check(self, agents):
        if len(agents) != 1:
            raise ValueError("a relay has one agent")

    def play(self, talk):
        for _ in range(self.rounds):
            (message,) = yield [talk.turn("amy", [talk.question])]
        talk.answer(message, message.text)
'''
TEAM = '[team]\ntopology = "own.py:Relay"\noptions.rounds = {rounds}\n[[team.agents]]\nname = "amy"\nrole = "lone"\n'


def test_an_advantage_method(project):
    project.write(ADVANTAGE)
    config = project.config('[advantages]\nmethod = "own.py:Scaled"\n')
    project.sampled(config)
    made = advantages.make(config, "r")
    assert made.method == "scaled"
    (table,) = made.advantages.values()
    assert sorted(set(table["advantage"].to_pylist())) == [-1, 1]
    double = advantages.make(project.config('[advantages]\nmethod = "own.py:Scaled"\noptions.scale = 2.0\n'), "r")
    (table,) = double.advantages.values()
    assert sorted(set(table["advantage"].to_pylist())) == [-2, 2]
    assert json.loads(table["parameters"][0].as_py()) == {"scale": 2.0}
    assert not {*made.rows["row_id"].to_pylist()} & {*double.rows["row_id"].to_pylist()}
    with pytest.raises(UserError, match=r"unknown key 'scael'; did you mean 'scale'\?"):
        advantages.make(project.config('[advantages]\nmethod = "own.py:Scaled"\noptions.scael = 2.0\n'), "r")


def test_an_advantage_method_may_not_take_the_name_of_another(project):
    project.write(ADVANTAGE.replace('"scaled"', '"grpo"'))
    config = project.config('[advantages]\nmethod = "own.py:Scaled"\n')
    project.sampled(config)
    with pytest.raises(UserError, match="name 'grpo' is taken"):
        advantages.make(config, "r")


def test_a_topology(project):
    project.write(RELAY)
    config = project.config(TEAM.format(rounds=3))
    assert {row["topology"] for row in project.sampled(config)} == {"relay"}
    assert sum(row["role"] == "assistant" for row in project.rows(config, "messages")) == 3 * 6
    assert project.config(TEAM.format(rounds=3), "run.name=").run_id != project.config(
        TEAM.format(rounds=2), "run.name="
    ).run_id  # fmt: skip
    with pytest.raises(UserError, match=r"unknown key 'roundz'; did you mean 'rounds'\?"):
        Sample(project.config(TEAM.format(rounds=3), "team.options.roundz=1"))
    bob = project.config(TEAM.format(rounds=3) + '[[team.agents]]\nname = "bob"\nrole = "lone"\n')
    with pytest.raises(UserError, match=r"team\.agents: a relay has one agent"):
        Sample(bob)


def test_a_tool(project):
    project.write("""
from apportion.pipeline.tools.base import ToolResult


class Shout:
    name = "shout"

    def __init__(self, mark="?"):
        self.mark = mark

    def run(self, text):
        return ToolResult(text.upper() + self.mark, True)
""")
    toml = (
        '[team]\ntopology = "solo"\n[team.tools.loud]\nkind = "own.py:Shout"\noptions.{key} = "!"\n'
        '[[team.agents]]\nname = "amy"\nrole = "lone"\ntools = {{ answer = "loud" }}\n'
    )
    config = project.config(toml.format(key="mark"))
    project.sampled(config)
    results = {row["text"] for row in project.rows(config, "messages") if row["role"] == "tool"}
    assert results >= {"1!", "2!", "3!"}
    with pytest.raises(UserError, match=r"team\.tools\.loud: .*'marc'; did you mean 'mark'\?"):
        Sample(project.config(toml.format(key="marc")))


def test_a_verifier(project):
    project.write("""
from apportion.pipeline.verifiers import Verdict


class Within:
    name = "within"

    def __init__(self, most=0):
        self.most = most

    def verify(self, answer, references):
        return Verdict(1.0, True) if abs(int(answer) - int(references[0])) <= self.most else Verdict(0.0, False)
""")
    toml = '[tasks]\npath = "tasks.jsonl"\nverifier = "own.py:Within"\nverifier_options.{key} = 1\n'
    assert all(row["success"] for row in project.sampled(project.config(toml.format(key="most"))))
    with pytest.raises(UserError, match=r"verifier .*'mots'; did you mean 'most'\?"):
        Sample(project.config(toml.format(key="mots")))


@pytest.mark.parametrize("name", ["Sums", "sums"])
def test_a_task_source(project, name):
    project.write('''
from apportion.pipeline.tasks.base import TaskSource
from apportion.pipeline.trajectory.task import make_task


class Sums(TaskSource):
    """n sums."""

    n: int = 1

    def tasks(self):
        return sums(self.n)


def sums(n=1):
    return [make_task(f"What is {one}+1?", [str(one + 1)], source="sums", split="all") for one in range(n)]
''')
    toml = '[tasks]\nsource = "own.py:{name}"\noptions.{key} = 2\n'
    assert len(project.sampled(project.config(toml.format(name=name, key="n")))) == 2 * 2
    with pytest.raises(UserError, match="task source .*'m'"):
        Sample(project.config(toml.format(name=name, key="m")))


def test_a_task_source_of_the_package(project):
    config = project.config('[tasks]\nsource = "multihop"\noptions.n = 4\noptions.river_share = 0.5\n')
    assert len(Sample(config).tasks) == 4
    with pytest.raises(UserError, match=r"did you mean 'river_share'\?"):
        Sample(project.config('[tasks]\nsource = "multihop"\noptions.rivershare = 0.5\n'))


def test_an_importer(project, monkeypatch, capsys):
    project.write('''
from typing import ClassVar

from apportion.pipeline.importers.base import Imported, Importer, Log, Turn, collected
from apportion.pipeline.trajectory.task import make_task


class Pairs(Importer):
    """Two texts a line: a question, and what was answered."""

    name: ClassVar[str] = "pairs"
    agent: str = "answerer"

    def read(self, path) -> Imported:
        return collected(self.name, path, "pairs of texts", self.log)

    def log(self, entry, value) -> Log:
        question, answer = value
        turns = [Turn("user", "user", "task", question), Turn(self.agent, "assistant", "message", answer)]
        return Log(str(entry.line), "pairs", make_task(question, [], source="pairs", split="all"), turns)
''')
    logs = project.folder / "logs.jsonl"
    logs.write_text('["Why?", "Rain."]\n["When?", "Now."]\n')
    config = project.config()

    def imported(*more: str) -> tuple[int, str]:
        at = ["--set", f"run.data={config.data_root}", "--set", "run.name=logs"]
        arguments = ["import", f"{project.folder / 'own.py'}:Pairs", str(logs), *at, *more]
        monkeypatch.setattr(sys, "argv", ["apportion", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), capsys.readouterr().err

    code, said = imported("--set", "importer.options.agnet=bob")
    assert (code, "did you mean 'agent'?" in said) == (2, True)
    code, said = imported("--set", "importer.options.agent=bob")
    assert (code, "run logs: 2 trajectories" in said) == (0, True)
    logs_config = config.model_copy(update={"run": config.run.model_copy(update={"name": "logs"})})
    assert {row["agent"] for row in project.rows(logs_config, "messages")} == {"user", "bob"}


def test_code_in_a_file_that_a_manifest_alone_names_is_not_run(project):
    project.write("raise SystemExit('it ran')\n")
    store = Store(project.config().store_root)
    project.sampled(project.config())
    manifest = store.manifest("r") or {}
    code = f"{project.folder / 'own.py'}:Method"
    manifest["config"]["advantages"] |= {"method": code, "options": {"a": 1}}
    manifest["config"]["tasks"]["verifier"] = code
    store.write_manifest("r", manifest)
    at = f"run.data={project.folder / 'data'}"
    with pytest.raises(UserError, match=r"not run on its word: tasks\.verifier = '.*/own\.py:Method'; if"):
        config_of_run(None, [at], "r", runs_code=True)
    with pytest.raises(UserError, match=r"advantages\.method = .*, advantages\.options = '{\"a\": 1}'; if"):
        config_of_run(None, [at], "r", runs_code=True, families=("advantages",))
    same = os.path.relpath(project.folder / "own.py") + ":Method"
    assert config_of_run(None, [at, f"tasks.verifier={same}"], "r", runs_code=True)
    assert config_of_run(None, [at], "r", runs_code=True, trust=True)


def test_a_run_made_with_a_file_of_code_is_continued_from_any_folder(project, monkeypatch):
    project.write(RELAY)
    config = project.config(TEAM.format(rounds=1))
    project.sampled(config)
    monkeypatch.chdir(project.folder)
    stored, _ = config_of_run(None, [f"run.data={project.folder / 'data'}"], "r", runs_code=True, trust=True)
    assert Sample(stored).pending == ()
    assert nature_for(stored, Store(stored.store_root).manifest("r"), dry=True)[0].name == "relay"
