"""Annotating what is awkward, or once more with another choice: nothing stops it, and no row is there twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedEngine
from test_sample_annotate_unit import annotate_all, configured, reply, rows, sample_all

from apportion.pipeline.core.config import Config
from apportion.pipeline.runs.run import Run
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.credit import Credit
from apportion.pipeline.stages.foresee_credit import foresee
from apportion.pipeline.teams.base import Conversation, Play

NARROW_TO_WIDE = [({"limit": 1}, {}, 2, 6), ({}, {"on": "all"}, 6, 8), ({"limit": 1}, {"on": "all"}, 2, 8)]


class Aside:
    """`left` and `right` speak; the boss hears `left` alone, and answers."""

    name, answerer = "aside", "outcome"

    def play(self, talk: Conversation) -> Play:
        """One round of the workers, one of the boss."""
        heard, _ = yield [talk.turn(name, [talk.question], talk.new_call()) for name in ("left", "right")]
        (message,) = yield [talk.turn("boss", [talk.question, heard.index])]
        talk.answer(message, message.text)


def wrong_from_two_on(prompt: str) -> str:
    """The script, with a wrong answer to the questions 2 and 3, which share the second shard."""
    text = reply(prompt)
    return "answer: 0" if text.startswith("answer:") and ("is 2+1" in prompt or "is 3+1" in prompt) else text


def silent(prompt: str) -> str:
    """Nobody is asked: no message that could be masked."""
    return "answer: 1"


def credits(config: Config) -> dict[tuple[str, str], float]:
    """Credit by game and player."""
    return {(one["game_id"], one["player"]): one["credit"] for one in rows(config, "credits")}


def test_a_shard_without_a_success_has_no_games_and_stands(tmp_path: Path, engine: ScriptedEngine):
    engine.reply = wrong_from_two_on
    config = configured(tmp_path)
    sample_all(config)
    failed = Store(config.store_root).read("trajectories", "r", "sampled-00001")["success"].to_pylist()
    assert failed == [False] * 4
    assert foresee(Credit(Run(config, "r")), engine.tokenizer).total["games"] == 4
    assert annotate_all(config) == (["sampled-00000", "sampled-00001"], 4)
    assert annotate_all(config) == ([], 0)
    assert Store(config.store_root).verify("r") == []


@pytest.mark.parametrize("answerer", ["outcome", "player"])
def test_an_agent_that_the_answerer_never_heard_has_null_credit(tmp_path: Path, engine: ScriptedEngine, answerer: str):
    engine.reply = lambda prompt: "answer: 1" if "I lead" in prompt else "It is 1"
    team = configured(tmp_path).team.model_dump(mode="json") | {"topology": "test_annotate_again_unit:Aside"}
    config = configured(tmp_path, team=team, annotate={"on": "all", "answerer": answerer})
    sample_all(config)
    assert annotate_all(config)[1] == 8
    heard = {"left"} if answerer == "outcome" else {"left", "boss"}
    assert {one["player"] for one in rows(config, "credits")} == heard
    shares = rows(config, "message_credits")
    assert len(shares) == 8 * 3
    assert {one["agent"] for one in shares if one["credit"] is not None} == heard
    assert {one["estimator"] for one in shares} == {"exact"}
    assert Store(config.store_root).verify("r") == []


@pytest.mark.parametrize(("narrow", "wide", "few", "many"), NARROW_TO_WIDE)
def test_a_wider_choice_takes_the_place_of_a_narrower_one(
    tmp_path: Path, engine: ScriptedEngine, narrow: dict[str, Any], wide: dict[str, Any], few: int, many: int
):
    sample_all(configured(tmp_path))
    assert annotate_all(configured(tmp_path, annotate=narrow))[1] == few
    config = configured(tmp_path, annotate=wide)
    before = credits(config)
    redone, _ = annotate_all(config)
    assert redone
    assert set(redone) <= {"sampled-00000", "sampled-00001"}
    assert len(rows(config, "games")) == len({one["game_id"] for one in rows(config, "games")}) == many
    assert len(rows(config, "coalitions")) == 8 * many
    assert len(rows(config, "credits")) == len(credits(config)) == 3 * many
    assert {key: credits(config)[key] for key in before} == pytest.approx(before, abs=1e-12)
    assert annotate_all(config) == ([], 0)
    assert Store(config.store_root).verify("r") == []


def test_a_narrower_choice_loses_nothing_and_costs_nothing(tmp_path: Path, engine: ScriptedEngine):
    sample_all(configured(tmp_path))
    assert annotate_all(configured(tmp_path, annotate={"on": "all"}))[1] == 8
    config = configured(tmp_path, annotate={"limit": 1})
    assert annotate_all(config) == ([], 0)
    assert len(rows(config, "games")) == 8


def test_another_context_window_makes_games_of_its_own(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path)
    sample_all(config)
    annotate_all(config)
    first = credits(config)
    shorter = configured(tmp_path, model={"path": str(tmp_path / "model"), "max_model_len": 2048})
    assert annotate_all(shorter)[1] == 6
    assert len({one["game_id"] for one in rows(config, "games")}) == len(rows(config, "games")) == 12
    assert {key: credits(config)[key] for key in first} == first
    assert Store(config.store_root).verify("r") == []


@pytest.mark.parametrize(("script", "window"), [(silent, 4096), (reply, 64)], ids=["no player", "no room"])
def test_what_is_set_aside_twice_is_told_apart_by_how_it_was_annotated(
    tmp_path: Path, engine: ScriptedEngine, script: Any, window: int
):
    engine.reply = script
    model = {"path": str(tmp_path / "model"), "max_model_len": window}
    sample_all(configured(tmp_path, model=model))
    for masking in ("placeholder", "drop"):
        config = configured(tmp_path, model=model, annotate={"on": "all", "masking": masking})
        assert annotate_all(config) == (["sampled-00000", "sampled-00001"], 0)
    aside = [one for one in rows(config, "rejects") if one["stage"].startswith("annotate")]
    assert len({one["file"] for one in aside}) == 8
    assert len({(one["stage"], one["file"]) for one in aside}) == len(aside) == 16
    assert Store(config.store_root).verify("r") == []
