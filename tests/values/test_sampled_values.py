"""Values that are sampled: final turns written anew, and runs replayed without an agent."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scripted import ByteTokenizer, ScriptedEngine, decoded

from apportion.pipeline.core.config import SampleConfig
from apportion.pipeline.games.game import Game, Rules, Shown
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.trajectory.task import Task
from apportion.pipeline.values import regenerate, replay
from apportion.pipeline.values._sampled import share_row, stderr

TOKENIZER = ByteTokenizer()
RULES = Rules("regenerate", "s", "outcome", "placeholder", "answer:", 4000, k=3, seed=7)
VIEW = (
    Shown(0, "user", "task", "user", "Why?", None),
    Shown(1, "assistant", "message", "ann", "rain", "ann"),
    Shown(2, "assistant", "message", "bob", "sun", "bob"),
)
GAME = Game("v1", "j1", "t1", ("ann", "bob"), RULES, "verdict", agents=("ann", "bob"), view=VIEW)
DECODING = SampleConfig(max_tokens=16, temperature=0.5, top_p=0.9, top_k=3)
ALL = np.arange(4)


def played(game: Game, engine: ScriptedEngine, right: str = "rain") -> list[dict[str, Any]]:
    asked = regenerate.ask(game, ALL, TOKENIZER, DECODING)
    return regenerate.evaluate([asked], engine, DECODING, lambda answer, _: answer == right)


def test_the_final_turn_is_forced_by_the_cue_and_its_line_is_verified():
    engine = ScriptedEngine(reply=lambda prompt: " rain\nask ann: more" if "ann: rain" in prompt else "snow")
    rows = played(GAME, engine)
    assert [(row["kept"], row["value"], row["successes"], row["k"]) for row in rows] == [
        ("00", 0.0, 0.0, 3), ("10", 1.0, 3.0, 3), ("01", 0.0, 0.0, 3), ("11", 1.0, 3.0, 3),
    ]  # fmt: skip
    assert all(decoded(request.prompt_ids).endswith("<assistant>answer:") for request in engine.rounds[0])
    assert {(r.temperature, r.top_p, r.top_k, r.max_tokens) for r in engine.rounds[0]} == {(0.5, 0.9, 3, 16)}


def test_all_coalitions_of_a_batch_are_sampled_in_one_call_each_sample_with_its_own_seed():
    engine = ScriptedEngine(reply=lambda prompt: "rain")
    other = replace(GAME, game_id="v2", trajectory_id="j2")
    asked = [regenerate.ask(game, ALL, TOKENIZER, DECODING) for game in (GAME, other)]
    rows = regenerate.evaluate(asked, engine, DECODING, lambda answer, _: True)
    assert len(engine.rounds) == 1
    assert len(engine.rounds[0]) == len({request.seed for request in engine.rounds[0]}) == 2 * 4 * 3
    assert [row["game_id"] for row in rows] == ["v1"] * 4 + ["v2"] * 4


def test_coalitions_that_read_alike_share_their_samples():
    silent = replace(GAME, view=(*VIEW[:2], replace(VIEW[2], text="(no message)")))
    engine = ScriptedEngine(reply=lambda prompt: "rain")
    rows = played(silent, engine)
    assert len(engine.rounds[0]) == 2 * 3
    assert len(rows) == 4


def test_the_same_game_gives_the_same_samples_and_another_seed_others():
    first, again, other = ScriptedEngine(), ScriptedEngine(), ScriptedEngine()
    played(GAME, first)
    played(GAME, again)
    played(replace(GAME, rules=replace(RULES, seed=8)), other)
    assert first.rounds == again.rounds
    assert not {r.seed for r in first.rounds[0]} & {r.seed for r in other.rounds[0]}


@pytest.mark.parametrize(("won", "k", "expected"), [(4, 4, 0.12247), (0, 4, 0.12247), (2, 4, 0.20412), (1, 1, 0.25)])
def test_no_share_is_called_certain(won: int, k: int, expected: float):
    # Beta(4.5, 0.5): 4.5 * 0.5 / (25 * 6) = 0.015; Beta(2.5, 2.5): 1/24; Beta(1.5, 0.5): 0.75 / (4 * 3)
    assert stderr(won, k) == pytest.approx(expected, abs=1e-5)


def test_a_share_counts_its_verdicts():
    row = share_row(GAME, "10", [True, False, True, True], truncated=False)
    assert (row["value"], row["successes"], row["k"], row["kept"], row["truncated"]) == (0.75, 3.0, 4, "10", False)
    assert row["stderr"] == pytest.approx(math.sqrt(3.5 * 1.5 / (25 * 6)))


def message(index: int, agent: str, role: str, text: str) -> dict[str, Any]:
    return {
        "message_index": index,
        "agent": agent,
        "role": role,
        "text": text,
        "tool_valid": None,
        "agent_call_id": 0,
        "is_outcome": text.startswith("answer"),
    }


LOG = Log(
    {"trajectory_id": "j1", "task_id": "t1", "text_digest": "d"},
    [
        message(0, "boss", "system", ""), message(1, "left", "system", ""), message(2, "user", "user", "Why?"),
        message(3, "boss", "assistant", "ask left: why"), message(4, "left", "assistant", "rain"),
        message(5, "boss", "assistant", "answer: rain"),
    ],
    Task("t1", "s", "", "Why?", ("rain",)),
)  # fmt: skip
REPLAY = Rules("replay", "s", "player", k=2, seed=7)


def test_every_agent_is_replayed_from_its_first_message_with_and_without_it():
    boss, left = replay.games(LOG, REPLAY, "verdict", {"left": "worker"})
    assert [(game.players, game.branch) for game in (boss, left)] == [(("boss",), 3), (("left",), 4)]
    assert boss.game_id != left.game_id
    arms = replay.rollouts(left, LOG)
    assert [(one.removed, one.branch, one.index, one.origin) for one in arms] == [
        (("left",), 4, 0, "replay"), (("left",), 4, 1, "replay"), ((), 4, 0, "replay"), ((), 4, 1, "replay"),
    ]  # fmt: skip
    assert len({one.seed for one in arms}) == len({one.trajectory_id for one in arms}) == 4
    assert [said.text for said in arms[0].script] == ["", "", "Why?", "ask left: why"]
    assert {one.parent for one in arms} == {"j1"}


def test_the_agent_whose_message_is_the_channel_is_not_replayed():
    (left,) = replay.games(LOG, replace(REPLAY, answerer="outcome"), "verdict")
    assert left.players == ("left",)


def test_more_samples_are_other_rollouts():
    few, many = (replay.games(LOG, replace(REPLAY, k=k), "verdict")[0] for k in (2, 4))
    assert not {r.trajectory_id for r in replay.rollouts(few, LOG)} & {
        r.trajectory_id for r in replay.rollouts(many, LOG)
    }


def test_a_replay_is_the_difference_of_its_arms_and_a_fault_counts_in_neither():
    _, left = replay.games(LOG, REPLAY, "verdict")
    without, whole = replay.values(left, [False, None, True, True])
    assert (without["kept"], without["value"], without["k"]) == ("0", 0.0, 1)
    assert (whole["kept"], whole["value"], whole["k"]) == ("1", 1.0, 2)


def test_an_arm_without_a_verdict_is_refused():
    _, left = replay.games(LOG, REPLAY, "verdict")
    with pytest.raises(ValueError, match="trajectory j1: no replay of left came to a verdict"):
        list(replay.values(left, [None, None, True, True]))
