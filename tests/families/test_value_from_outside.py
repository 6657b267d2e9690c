"""A value function of a user's own: one file, named in a TOML file with its parameters, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedEngine

from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.runs.run import Run
from apportion.pipeline.runs.store import Store
from apportion.pipeline.runs.trust import own_code
from apportion.pipeline.stages import advantages
from apportion.pipeline.stages.credit import Credit
from apportion.pipeline.stages.foresee_credit import foresee
from apportion.pipeline.stages.sample import Sample
from apportion.pipeline.stages.stage import play

NAMED = '''
"""Does a coalition name the answer?"""

from typing import ClassVar

from pydantic import Field

from apportion.pipeline.values.base import Masked, value_row


class Named(Masked):
    """v(S) = weight where a message of S holds the reference answer, else 0. No model is asked."""

    name: ClassVar[str] = "named"

    weight: float = Field(1.0, gt=0, le=1)
    """What naming it is worth."""

    def values(self, asked, desk):
        """Game by game."""
        for one in asked:
            yield [value_row(one.game, int(mask), self.worth(one.game, int(mask))) for mask in one.masks]

    def worth(self, game, mask):
        kept = {player for bit, player in enumerate(game.players) if mask >> bit & 1}
        return self.weight * any(game.target in message.text for message in game.view if message.owner in kept)
'''
TEAM = """
[[team.agents]]
name = "boss"
role = "planner"
system = "I lead"
[[team.agents]]
name = "left"
role = "worker"
system = "I reckon"
[[team.agents]]
name = "right"
role = "worker"
system = "I guess"
"""


def reply(prompt: str) -> str:
    if "I reckon" in prompt:
        return "It is 2"
    if "I guess" in prompt:
        return "many"
    return "answer: 2" if "left: It is" in prompt else "ask left: 1+1\nask right: 1+1"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    made = ScriptedEngine(reply)
    monkeypatch.setattr("apportion.pipeline.engines.running.engine_for", lambda model, root: made)
    return made


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a value function, tasks and a checkpoint; it is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(NAMED)
    (tmp_path / "tasks.jsonl").write_text(json.dumps({"question": "What is 1+1?", "answer": "2"}))
    (tmp_path / "model").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / "model" / name).write_text("{}")
    return tmp_path


def configured(folder: Path, *lines: str) -> Config:
    """The project's TOML file with a section `[annotate]`."""
    head = '[run]\nname = "r"\ndata = "data"\n[model]\npath = "model"\n[tasks]\npath = "tasks.jsonl"\n'
    body = "\n".join(["[sample]", "group_size = 2", "solo = false", "[annotate]", *lines])
    (folder / "run.toml").write_text(head + TEAM + body)
    (folder / "data").mkdir(exist_ok=True)
    return load_config(folder / "run.toml")


def annotated(config: Config) -> int:
    """Sample and credit what is pending; the number of shards credited now."""
    play(Sample(config))
    plan = Credit(Run(config, "r"))
    pending = plan.pending
    for shard in pending:
        assert plan.work(shard)
    return len(pending)


def rows(config: Config, table: str) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = Store(config.store_root).read(table, "r").to_pylist()
    return result


OWN = ('value = "mine.py:Named"', "[annotate.options]", "weight = 0.5")


def test_it_is_used_by_configuration_alone_with_its_parameter(project: Path, engine: ScriptedEngine):
    config = configured(project, *OWN)
    assert annotated(config) == 1
    assert not engine.scored
    credits = {(row["trajectory_id"], row["player"]): row["credit"] for row in rows(config, "credits")}
    assert len(credits) == 6
    assert all(value == pytest.approx(0.5 if player == "left" else 0.0) for (_, player), value in credits.items())
    assert {row["value_kind"] for row in rows(config, "games")} == {"named(weight=0.5)"}
    assert Store(config.store_root).verify("r") == []
    assert annotated(config) == 0


def test_other_parameters_give_other_games_beside_the_first(project: Path, engine: ScriptedEngine):
    annotated(configured(project, *OWN))
    config = configured(project, *OWN[:2], "weight = 0.25")
    assert annotated(config) == 1
    assert {row["value_kind"] for row in rows(config, "games")} == {"named(weight=0.5)", "named(weight=0.25)"}
    assert {row["credit"] for row in rows(config, "credits")} >= {0.5, 0.25}


def test_another_text_of_its_file_makes_its_shards_anew(project: Path, engine: ScriptedEngine):
    config = configured(project, *OWN)
    annotated(config)
    (project / "mine.py").write_text(NAMED.replace("self.weight *", "self.weight / 2 *"))
    assert annotated(config) == 1
    assert {row["v_full"] for row in rows(config, "credits")} == {0.25}
    assert {row["value_kind"] for row in rows(config, "games")} == {"named(weight=0.5)"}


def test_messages_can_be_its_players_and_the_masking_is_the_sections(project: Path, engine: ScriptedEngine):
    config = configured(project, 'value = "mine.py:Named"', 'players = "messages"', 'masking = "drop"')
    annotated(config)
    assert {row["player_kind"] for row in rows(config, "games")} == {"agent", "message"}
    assert {row["masking"] for row in rows(config, "games")} == {"drop"}


def test_a_dry_run_does_not_import_it(project: Path, engine: ScriptedEngine):
    config = configured(project, *OWN)
    annotated(config)
    (project / "mine.py").write_text("raise SystemExit('imported')")
    plan = Credit(Run(config, "r"), dry=True)
    assert plan.assumed.startswith("a dry run does not import annotate.value = 'mine.py:Named'")
    assert foresee(plan, engine.tokenizer).total["games"] == 2


def test_its_credit_is_trained_on_without_importing_it(project: Path, engine: ScriptedEngine):
    config = configured(project, *OWN, "[advantages]", 'method = "shapley"')
    annotated(config)
    (project / "mine.py").write_text("raise SystemExit('imported')")
    made = advantages.make(config, "r")
    rewards = {row["agent"]: row["reward"] for row in made.advantages["sampled-00000"].to_pylist()}
    assert rewards["left"] > rewards["right"]


def test_it_is_code_that_a_manifest_alone_cannot_start(project: Path):
    told = own_code(configured(project, *OWN))
    assert told == {"annotate.value": "mine.py:Named", "annotate.options": '{"weight": 0.5}'}


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (['value = "likelyhood"'], r"annotate\.value = 'likelyhood'.*did you mean 'likelihood'"),
        (["[annotate.likelihood]", 'ceu = "so:"'], r"unknown key 'ceu'; did you mean 'cue'"),
        (["[annotate.likelyhood]", 'cue = "so:"'], r"likelyhood'; did you mean 'likelihood'"),
        (["[annotate.replay]", "samples = 0"], r"samples = 0: must be a whole number, at least 1"),
    ],
)
def test_a_slip_in_the_name_or_a_parameter_is_answered_with_the_nearest(project: Path, lines: list[str], answer: str):
    with pytest.raises(UserError, match=answer):
        configured(project, *lines)


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (['value = "mine.py:Name"'], r"has no 'Name'; did you mean 'Named'"),
        ([*OWN[:2], "wieght = 0.5"], r"unknown key 'wieght'; did you mean 'weight'"),
        ([*OWN[:2], "weight = 2"], r"weight = 2: must be a number, above 0 and at most 1"),
        (['value = "likelihood"', *OWN[1:]], r"annotate\.options are for a value function of your own"),
        (['value = "mine.py:Field"'], r"is no class on .*ValueFunction"),
        (['value = "mine.py:Masked"'], r"does not say its 'values'"),
    ],
)
def test_what_is_wrong_with_it_is_said_before_anything_is_valued(
    project: Path, engine: ScriptedEngine, lines: list[str], answer: str
):
    annotated(configured(project, 'on = "none"'))
    with pytest.raises(UserError, match=answer):
        Credit(Run(configured(project, *lines), "r"))


def test_it_cannot_take_the_name_of_another(project: Path, engine: ScriptedEngine):
    annotated(configured(project, 'on = "none"'))
    (project / "mine.py").write_text(NAMED.replace('"named"', '"recount"'))
    with pytest.raises(UserError, match=r"it is called 'recount', as one that exists; rename it"):
        Credit(Run(configured(project, *OWN), "r"))


def test_a_value_beyond_its_bounds_ends_the_shard_with_the_place(project: Path, engine: ScriptedEngine):
    (project / "mine.py").write_text(NAMED.replace("self.weight *", "3 * self.weight *"))
    config = configured(project, *OWN)
    with pytest.raises(
        WorkError, match=r"trajectory \w+: a value of 1.5 by named\(weight=0.5\) is not within \[0, 1\]"
    ):
        annotated(config)
    assert rows(config, "games") == []


def test_a_table_of_one_method_goes_before_the_keys_that_all_share(project: Path, engine: ScriptedEngine):
    annotated(configured(project, 'on = "none"'))
    shared = Credit(Run(configured(project, 'cue = "so:"'), "r"))
    alone = Credit(Run(configured(project, "[annotate.likelihood]", 'cue = "so:"'), "r"))
    of_another = Credit(Run(configured(project, 'cue = "so:"', "[annotate.regenerate]", 'cue = "hm:"'), "r"))
    assert [shard.fingerprint for shard in shared.shards] == [shard.fingerprint for shard in alone.shards]
    assert shared.spec == of_another.spec != Credit(Run(configured(project), "r")).spec
