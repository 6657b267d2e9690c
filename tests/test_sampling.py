"""Sampling: conversations advance together, seeds and ids are fixed by the configuration, rows fit their tables."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from scripted import ScriptedEngine, decoded, voices

from apportion import schemas
from apportion.pipeline.core.config import AgentConfig, SampleConfig, TeamConfig, ToolConfig
from apportion.pipeline.play.play import Played, message_rows, play, rollouts, trajectory_row
from apportion.pipeline.play.team import Team, load_team
from apportion.pipeline.trajectory.task import make_task
from apportion.pipeline.verifiers import get_verifier

TASKS = [make_task(f"What is {n}+1?", [str(n + 1)], source="toy", split="all") for n in range(3)]
CONFIG = SampleConfig(group_size=2, max_tokens=60, temperature=0.5)
TEAM, _ = load_team(
    TeamConfig(
        name="pair",
        agents=[
            AgentConfig(name="boss", role="planner", system="I lead", examples=[("Question: hm?", "answer: hm")]),
            AgentConfig(name="left", role="worker", system="I reckon", tools={"calc": "calculator"}),
            AgentConfig(name="right", role="worker", system="I guess"),
        ],
        tools={"calculator": ToolConfig(kind="calculator")},
    )
)


def reply(prompt: str) -> str:
    """The planner asks both at once; the left one calculates; the planner repeats what it was told."""
    if "I reckon" in prompt:
        return "calc: 1+1" if "result:" not in prompt else "two"
    if "I guess" in prompt:
        return "many"
    return "answer: 2" if "left: two" in prompt else "  ask left: 1+1\nask right: 1+1"


def asked(config: SampleConfig = CONFIG, seed: int = 0, **other: str) -> list[Any]:
    names = {"policy": "p", "spec": "s", "origin": "sampled", **other}
    return rollouts(TASKS, config, seed, **names)


def sampled(config: SampleConfig = CONFIG, engine: ScriptedEngine | None = None, team: Team = TEAM) -> list[Played]:
    return play(voices(team, engine or ScriptedEngine(reply)), team, asked(config), config)


def test_one_engine_call_a_round_for_all_live_conversations():
    engine = ScriptedEngine(reply)
    done: list[int] = []
    play(voices(TEAM, engine), TEAM, asked(), CONFIG, done.append)
    assert [len(requests) for requests in engine.rounds] == [6, 12, 6, 6]
    assert sum(done) == 6


def test_a_finished_conversation_is_asked_for_nothing_more():
    engine = ScriptedEngine(lambda prompt: "answer: 1" if "What is 0" in prompt else reply(prompt))
    played = sampled(engine=engine)
    assert [len(requests) for requests in engine.rounds] == [6, 8, 4, 4]
    assert [one.talk.final_answer for one in played] == ["1", "1", "2", "2", "2", "2"]


def test_requests_carry_the_sampling_parameters():
    engine = ScriptedEngine(reply)
    sampled(SampleConfig(temperature=0.3, top_p=0.9, top_k=7, max_tokens=11), engine)
    for request in engine.rounds[0]:
        got = (request.temperature, request.top_p, request.top_k, request.max_tokens)
        assert got == (0.3, 0.9, 7, 11)


def test_prompts_show_each_agent_its_own_chat():
    engine = ScriptedEngine(reply)
    sampled(engine=engine)
    assert decoded(engine.rounds[0][0].prompt_ids) == (
        "<system>I lead</system>\n<user>Question: hm?</user>\n<assistant>answer: hm</assistant>\n"
        "<user>Question: What is 0+1?</user>\n<assistant>"
    )
    assert decoded(engine.rounds[2][0].prompt_ids) == (
        "<system>I reckon</system>\n<user>boss: ask left: 1+1\nask right: 1+1</user>\n"
        "<assistant>calc: 1+1</assistant>\n<user>result: 2</user>\n<assistant>"
    )


def test_ids_and_seeds_repeat_and_differ_between_rollouts():
    first = asked()
    assert first == asked()
    assert len({one.trajectory_id for one in first}) == len({one.seed for one in first}) == 6
    assert len({one.group_id for one in first}) == 3
    assert [one.index for one in first] == [0, 1] * 3


@pytest.mark.parametrize("change", [{"seed": 1}, {"policy": "q"}, {"spec": "t"}, {"origin": "solo"}])
def test_ids_change_with_seed_policy_configuration_and_origin(change: dict[str, Any]):
    before, after = asked(), asked(**change)
    assert not {one.trajectory_id for one in before} & {one.trajectory_id for one in after}
    assert not {one.group_id for one in before} & {one.group_id for one in after}


def test_more_rollouts_of_a_group_keep_the_first_ones():
    more = asked(SampleConfig(group_size=5))
    assert {one.trajectory_id for one in asked()} <= {one.trajectory_id for one in more}


def test_every_request_has_a_seed_of_its_own_and_the_same_one_again():
    engines = ScriptedEngine(reply), ScriptedEngine(reply)
    for engine in engines:
        sampled(engine=engine)
    seeds = [[request.seed for requests in engine.rounds for request in requests] for engine in engines]
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == len(seeds[0])


def test_seeds_do_not_depend_on_who_else_is_in_the_batch():
    together = sampled()
    alone = play(voices(TEAM, ScriptedEngine(reply)), TEAM, asked()[3:4], CONFIG)
    assert [m.seed for m in alone[0].talk.messages] == [m.seed for m in together[3].talk.messages]


def test_a_full_context_window_ends_one_conversation_and_the_others_go_on():
    def talkative(prompt: str) -> str:
        return "x" * 60 if "What is 0" in prompt and "I lead" in prompt else reply(prompt)

    engine = ScriptedEngine(talkative, max_model_len=300)
    played = sampled(engine=engine)
    rows = [trajectory_row(one, get_verifier("exact"), 0, "exact") for one in played]
    assert [row["error"] for row in rows] == ["context window full"] * 2 + [None] * 4
    assert [row["answer"] for row in rows] == [None] * 2 + ["2"] * 4
    for requests in engine.rounds:
        assert all(len(r.prompt_ids) + r.max_tokens <= 300 and r.max_tokens >= 1 for r in requests)
    assert len([m for m in played[0].talk.messages if m.completion_ids]) > 1


def test_a_window_too_small_for_any_prompt_ends_every_conversation():
    played = sampled(engine=ScriptedEngine(reply, max_model_len=20))
    assert {one.talk.error for one in played} == {"context window full"}


def test_trajectory_row_tells_the_answer_its_verdict_and_its_cost():
    (one,) = [one for one in sampled() if one.rollout.task is TASKS[1] and one.rollout.index == 0]
    row = trajectory_row(one, get_verifier("exact"), 7, "exact")
    written = [m for m in one.talk.messages if m.completion_ids is not None]
    assert (row["answer"], row["outcome"], row["success"], row["error"]) == ("2", 1.0, True, None)
    assert (row["team"], row["topology"], row["batch_index"]) == ("pair", "planner_workers", 7)
    assert row["prompt_tokens"] == sum(len(m.prompt_ids) for m in written)
    assert row["completion_tokens"] == sum(len(m.completion_ids) for m in written) > 0


def test_a_wrong_answer_and_none_at_all_are_told_apart():
    wrong, right, _ = sampled(SampleConfig(group_size=1))
    assert trajectory_row(wrong, get_verifier("exact"), 0, "exact")["success"] is False
    assert trajectory_row(right, get_verifier("exact"), 0, "exact")["success"] is True
    silent = sampled(engine=ScriptedEngine(lambda prompt: "hm"))[0]
    row = trajectory_row(silent, get_verifier("exact"), 0, "exact")
    assert (row["answer"], row["outcome"], row["error"]) == (None, 0.0, "no answer")


def test_text_digest_tells_texts_apart():
    def digest_of(text: str) -> str:
        one = sampled(engine=ScriptedEngine(lambda prompt: text))[0]
        return str(trajectory_row(one, get_verifier("exact"), 0, "exact")["text_digest"])

    assert digest_of("answer: 1") == digest_of("answer: 1") != digest_of("answer: 2")


def test_messages_keep_the_samplers_tokens_and_a_stripped_text():
    (one,) = [row for row in message_rows(sampled()[0], CONFIG) if row["text"].startswith("ask left")]
    assert decoded(one["completion_ids"]) == "  ask left: 1+1\nask right: 1+1"
    assert len(one["completion_mask"]) == len(one["sampling_logprobs"]) == len(one["completion_ids"])
    assert (one["finish_reason"], one["truncated"], one["policy_id"]) == ("stop", False, "p")


def test_a_message_cut_at_the_token_limit_is_marked():
    rows = message_rows(sampled(SampleConfig(max_tokens=3))[0], SampleConfig(max_tokens=3))
    first = next(row for row in rows if row["kind"] == "message")
    assert (first["finish_reason"], first["truncated"], len(first["completion_ids"])) == ("length", True, 3)


@pytest.mark.parametrize(
    ("change", "trainable"),
    [({}, True), ({"top_p": 0.9}, False), ({"top_k": 5}, False), ({"temperature": 0.0}, False)],
)
def test_only_messages_of_an_uncut_distribution_are_trainable(change: dict[str, Any], trainable: bool):
    config = SampleConfig(max_tokens=60, **change)
    for row in message_rows(sampled(config)[0], config):
        assert row["trainable"] is (trainable and row["role"] == "assistant")


def test_rows_fit_their_tables_and_break_no_invariant():
    played = sampled(engine=ScriptedEngine(reply, max_model_len=400))
    verifier = get_verifier("exact")
    tables = {
        "messages": [row for one in played for row in message_rows(one, CONFIG)],
        "trajectories": [trajectory_row(one, verifier, 0, "exact") for one in played],
    }
    for name, rows in tables.items():
        with duckdb.connect(":memory:") as con:
            con.register("made", schemas.TABLES[name].from_rows(rows))
            assert schemas.TABLES[name].violations(con, "made") == []
