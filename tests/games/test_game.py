"""A trajectory as a game: what is masked, whose it is, what the answerer saw, and what makes it another game."""

from __future__ import annotations

from typing import Any

import pytest

from apportion.pipeline.games.game import Game, Rules, build_game
from apportion.pipeline.trajectory.render import NEUTRAL

TRAJECTORY = {"trajectory_id": "j1", "task_id": "t1", "text_digest": "d1", "origin": "sampled"}


def row(index: int, agent: str, role: str, kind: str, text: str, context: tuple[int, ...] = (), **more: Any):
    base = {"message_index": index, "agent": agent, "role": role, "kind": kind, "text": text}
    return {**base, "context": list(context), "examples": None, "is_outcome": False, "agent_call_id": 0, **more}


MESSAGES = [
    row(0, "boss", "system", "system", "Lead.", examples='[["q", "a"]]'),
    row(1, "left", "system", "system", "Reckon."),
    row(2, "user", "user", "task", "Why?"),
    row(3, "boss", "assistant", "message", "ask left: why", (0, 2)),
    row(4, "left", "assistant", "message", "find: why", (1, 3), agent_call_id=1),
    row(5, "left", "tool", "tool_result", "rain", agent_call_id=1),
    row(6, "left", "assistant", "message", "It rained", (1, 3, 4, 5), agent_call_id=1),
    row(7, "boss", "assistant", "message", "hmm", (0, 2, 3, 6)),
    row(8, "user", "user", "notice", "Answer now."),
    row(9, "boss", "assistant", "message", "answer: rain", (0, 2, 3, 6, 7, 8), is_outcome=True),
]
LOG = [
    row(0, "user", "user", "task", "Why?"),
    row(1, "ann", "assistant", "message", "I look", (0,)),
    row(2, "ann", "tool", "tool_result", "rain", (0, 1)),
    row(3, "bob", "assistant", "message", "It rained", (0, 1, 2)),
]


def build(messages: list[dict[str, Any]] = MESSAGES, target: str = "rain", kind: str = "agent", **more: Any):
    told = {"value": "likelihood", "scorer": "s", "answerer": "outcome", "masking": "placeholder", "cue": "answer:"}
    told |= {"window": 512} | {key: more.pop(key) for key in list(more) if key in Rules.__dataclass_fields__}
    return build_game({**TRAJECTORY, **more}, messages, target, Rules(**told), more.pop("roles", None), kind)


def game(*args: Any, **more: Any) -> Game:
    made = build(*args, **more)
    assert made is not None
    return made


def contents(made: Game, kept: int) -> list[str]:
    return [turn["content"] for turn in made.coalition(kept)]


def test_the_view_is_what_the_answering_agent_saw():
    made = game()
    assert [message.index for message in made.view] == [2, 3, 6, 7, 8]
    assert (made.players, made.reader, made.system) == (("boss", "left"), "boss", "Lead.")
    assert made.examples == (("q", "a"),)


def test_the_grand_coalition_reads_the_very_chat_of_the_answering_agent():
    assert game().coalition(0b11) == [
        {"role": "system", "content": "Lead."},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "Question: Why?"},
        {"role": "assistant", "content": "ask left: why"},
        {"role": "user", "content": "left: It rained"},
        {"role": "assistant", "content": "hmm"},
        {"role": "user", "content": "Answer now."},
    ]


def test_placeholder_masks_what_the_removed_agents_own_and_nothing_else():
    made = game()
    assert contents(made, 0b01)[4:] == ["ask left: why", f"left: {NEUTRAL}", "hmm", "Answer now."]
    assert contents(made, 0b10)[4:] == [NEUTRAL, "left: It rained", NEUTRAL, "Answer now."]
    assert contents(made, 0b00)[3:] == ["Question: Why?", NEUTRAL, f"left: {NEUTRAL}", NEUTRAL, "Answer now."]


def test_drop_leaves_out_what_the_removed_agents_own():
    made = game(masking="drop")
    assert contents(made, 0b01)[3:] == ["Question: Why?", "ask left: why", "hmm", "Answer now."]
    assert contents(made, 0b10)[3:] == ["Question: Why?\nleft: It rained\nAnswer now."]
    assert contents(made, 0b00)[3:] == ["Question: Why?\nAnswer now."]


@pytest.mark.parametrize("masking", ["placeholder", "drop"])
def test_tool_results_go_with_the_agent_whose_call_produced_them(masking: str):
    made = game([*LOG, row(4, "cat", "assistant", "message", "so?", (0, 1, 2, 3))], masking=masking, origin="imported")
    assert made.players == ("ann", "bob", "cat")
    text = "\n".join(contents(made, 0b110))
    assert "result: rain" not in text
    assert "I look" not in text
    assert "bob: It rained" in text
    assert "result: rain" in "\n".join(contents(made, 0b001))


def test_the_answering_message_is_no_ones_under_outcome_and_its_writers_under_player():
    under_outcome, under_player = game(), game(answerer="player")
    assert 9 not in [message.index for message in under_outcome.view]
    assert under_player.view[-1].index == 9
    assert under_player.view[-1].owner == "boss"
    assert "answer: rain" in contents(under_player, 0b11)
    assert "answer: rain" not in contents(under_player, 0b10)


def test_an_answerer_who_said_nothing_else_is_a_player_only_under_player():
    messages = [*LOG[:3], row(3, "bob", "assistant", "message", "rain", (0, 1, 2), is_outcome=True)]
    assert game(messages, origin="imported").players == ("ann",)
    assert game(messages, answerer="player", origin="imported").players == ("ann", "bob")


@pytest.mark.parametrize("answerer", ["outcome", "player"])
def test_a_log_without_an_answer_is_viewed_whole(answerer: str):
    made = game(LOG, answerer=answerer, origin="imported")
    assert [message.index for message in made.view] == [0, 1, 2, 3]
    assert made.players == ("ann", "bob")
    assert (made.reader, made.system) == ("", "")
    assert contents(made, 0b11) == ["Question: Why?\nann: I look\nresult: rain\nbob: It rained"]


def test_a_log_without_an_answer_is_viewed_to_its_end_past_the_last_agent():
    messages = [*LOG, row(4, "bob", "tool", "tool_result", "wet", (0,)), row(5, "user", "user", "message", "And now?")]
    made = game(messages, answerer="player", origin="imported")
    assert [message.index for message in made.view] == [0, 1, 2, 3, 4, 5]
    assert contents(made, 0b11)[0].endswith("bob: It rained\nresult: wet\nuser: And now?")
    assert contents(made, 0b01)[0].endswith(f"bob: {NEUTRAL}\nresult: {NEUTRAL}\nuser: And now?")


def test_a_sampled_conversation_without_an_answer_is_read_by_the_agent_of_the_top_call():
    unanswered = MESSAGES[:8]
    made = game(unanswered)
    assert made.reader == "boss"
    assert [message.index for message in made.view] == [2, 3, 6, 7]


def test_nobody_to_mask_is_no_game():
    answered = row(3, "boss", "assistant", "message", "answer: rain", (0, 2), is_outcome=True)
    assert build([*MESSAGES[:3], answered]) is None
    assert build([*MESSAGES[:3], answered], answerer="player") is not None
    assert build(MESSAGES[:3]) is None


@pytest.mark.parametrize(
    "change",
    [
        {"trajectory_id": "j2"},
        {"text_digest": "d2"},
        {"target": "snow"},
        {"scorer": "other"},
        {"cue": "so:"},
        {"masking": "drop"},
        {"answerer": "player"},
        {"window": 1024},
        {"value": "regenerate"},
        {"k": 4},
        {"seed": 1},
        {"decoding": "{}"},
        {"kind": "message"},
        {"messages": [MESSAGES[0], *[{**m, "agent": "lisa"} if m["agent"] == "left" else m for m in MESSAGES[1:]]]},
    ],
)
def test_game_id_changes_with_every_part_of_its_identity(change: dict[str, Any]):
    assert game(**change).game_id != game().game_id


@pytest.mark.parametrize("change", [{"roles": {"boss": "chief"}}, {"task_id": "t2"}, {"success": False}])
def test_game_id_does_not_change_otherwise(change: dict[str, Any]):
    assert game(**change).game_id == game().game_id


def test_row_names_the_game():
    made = game(masking="drop")
    shown = made.row(0.25)
    assert (shown["game_id"], shown["players"], shown["target"]) == (made.game_id, ["boss", "left"], "rain")
    assert (shown["masking"], shown["answerer"], shown["scorer"], shown["leak"]) == ("drop", "outcome", "s", 0.25)


def test_messages_as_players_are_masked_one_by_one():
    made = game(kind="message")
    assert (made.players, made.agents) == (("3", "6", "7"), ("boss", "left", "boss"))
    assert contents(made, 0b110)[4:] == [NEUTRAL, "left: It rained", "hmm", "Answer now."]
    assert contents(made, 0b011)[4:] == ["ask left: why", "left: It rained", NEUTRAL, "Answer now."]


def test_masking_all_messages_of_an_agent_reads_as_masking_the_agent():
    by_agent, by_message = game(), game(kind="message")
    assert by_message.coalition(0b010) == by_agent.coalition(0b10)
    assert by_message.coalition(0b101) == by_agent.coalition(0b01)
    assert by_message.coalition(by_message.full) == by_agent.coalition(by_agent.full)


def test_a_tool_result_goes_with_the_message_whose_call_it_answers():
    log = [
        *LOG[:3],
        row(3, "ann", "assistant", "message", "again", (0,)),
        *(row(4, "ann", "tool", "tool_result", "sun"),),
    ]
    made = game(log, kind="message", origin="imported", answerer="player")
    assert made.players == ("1", "3")
    assert [message.owner for message in made.view] == [None, "1", "1", "3", "3"]
