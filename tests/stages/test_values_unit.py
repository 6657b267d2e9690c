"""Every value function on the same run: what is written, what adds up, what stands, what is refused."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedEngine
from test_sample_annotate_unit import annotate_all, configured, reply, rows, sample_all

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.runs.run import Run
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.credit import Credit

VOTERS = {
    "name": "vote",
    "topology": "voting",
    "agents": [{"name": name, "role": "voter", "system": name} for name in ("one", "two", "three")],
}


def forced(prompt: str) -> str:
    """As `reply`, also where the answer is already begun."""
    return reply(prompt).removeprefix("answer: ")


def vote(prompt: str) -> str:
    """Two are right about the first question, one about the second, and all about the others."""
    wrong = {"What is 0+1?": ("three",), "What is 1+1?": ("two", "three")}
    voter = next(name for name in ("one", "two", "three") if f"<system>{name}<" in prompt)
    number = int(prompt.split("What is ")[1][0])
    question = f"What is {number}+1?"
    return "answer: 99" if voter in wrong.get(question, ()) else f"answer: {number + 1}"


def credited(folder: Path, **section: Any) -> Config:
    """A sampled run annotated as the section says."""
    config = configured(folder, annotate=section)
    sample_all(config)
    annotate_all(config)
    return config


def by_player(config: Config, kind: str = "agent") -> dict[tuple[str, str], dict[str, Any]]:
    return {(r["trajectory_id"], r["player"]): r for r in rows(config, "credits") if r["player_kind"] == kind}


def test_regenerated_values_are_success_shares_of_forced_answers(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path, annotate={"value": "regenerate", "samples": 2})
    sample_all(config)
    engine.reply = forced
    assert annotate_all(config)[1] == 6
    values = {(row["trajectory_id"], row["kept"]): row for row in rows(config, "coalitions")}
    assert len(values) == 6 * 8
    assert {row["k"] for row in values.values()} == {2}
    for (_, kept), row in values.items():
        assert row["value"] == row["successes"] / 2 == (1.0 if kept[1] == "1" else 0.0)  # only `left` matters
    found = by_player(config)
    assert all(row["credit"] == pytest.approx(float(player == "left")) for (_, player), row in found.items())
    assert {(row["stderr_source"], row["stderr"] > 0) for row in found.values()} == {("rollout", True)}
    games = rows(config, "games")
    assert {(row["value_kind"], row["k"]) for row in games} == {("regenerate", 2)}
    assert '"temperature"' in games[0]["decoding"]
    assert Store(config.store_root).verify("r") == []


def test_a_replay_samples_the_rest_of_the_run_with_and_without_every_agent(tmp_path: Path, engine: ScriptedEngine):
    config = credited(tmp_path, value="replay", samples=2)
    found = by_player(config)
    assert len(found) == 6 * 2  # the planner's answer is the channel
    for (_, player), row in found.items():
        assert row["credit"] == row["loo"] == (0.0 if player == "right" else 1.0)
        assert (row["estimator"], row["efficient"], row["stderr_source"]) == ("loo", False, "rollout")
    replays = [row for row in rows(config, "trajectories") if row["origin"] == "replay"]
    assert len(replays) == 6 * 2 * 2 * 2
    arms = defaultdict(list)
    for row in replays:
        arms[row["parent_trajectory_id"], row["branch_message_index"], tuple(row["removed"])].append(row["success"])
    assert len(arms) == 6 * 2 * 2
    assert {len(verdicts) for verdicts in arms.values()} == {2}
    assert all(all(verdicts) for (_, _, removed), verdicts in arms.items() if removed in ((), ("right",)))
    assert not any(any(verdicts) for (_, _, removed), verdicts in arms.items() if removed == ("left",))
    assert Store(config.store_root).verify("r") == []


def test_a_removed_agent_says_nothing_after_the_branch(tmp_path: Path, engine: ScriptedEngine):
    config = credited(tmp_path, value="replay", samples=1, limit=1)
    removed = {row["trajectory_id"]: row for row in rows(config, "trajectories") if row["removed"]}
    said = [row for row in rows(config, "messages") if row["trajectory_id"] in removed and row["role"] == "assistant"]
    silent = [row for row in said if row["agent"] in removed[row["trajectory_id"]]["removed"]]
    assert silent
    for row in silent:
        before = row["message_index"] < removed[row["trajectory_id"]]["branch_message_index"]
        assert not before
        assert (row["text"], row["completion_ids"], row["trainable"]) == ("(no message)", None, False)


def test_replays_stand_and_are_themselves_nobodys_to_annotate(tmp_path: Path, engine: ScriptedEngine):
    config = credited(tmp_path, value="replay", samples=1)
    before = len(engine.rounds)
    assert annotate_all(config) == ([], 0)
    assert len(engine.rounds) == before
    masked = configured(tmp_path, annotate={"value": "likelihood"})
    assert annotate_all(masked)[1] == 6
    kinds = {row["game_id"]: row["value_kind"] for row in rows(config, "games")}
    assert sorted(kinds.values()) == ["likelihood"] * 6 + ["replay"] * 12


def test_a_replay_is_refused_under_other_conditions(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path)
    sample_all(config)
    other = configured(tmp_path, annotate={"value": "replay"}, sample={"temperature": 0.1})
    with pytest.raises(UserError, match=r"another team, decoding.*set annotate\.value=likelihood"):
        Credit(Run(other, "r"))


def test_messages_as_players_earn_their_agents_credit_exactly(tmp_path: Path, engine: ScriptedEngine):
    config = credited(tmp_path, players="messages")
    agents, messages = by_player(config), by_player(config, "message")
    authors = {(r["trajectory_id"], str(r["message_index"])): r["agent"] for r in rows(config, "messages")}
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for (trajectory, index), row in messages.items():
        sums[trajectory, authors[trajectory, index]] += row["credit"]
    assert {key: pytest.approx(row["credit"], abs=1e-12) for key, row in agents.items()} == dict(sums)
    assert {row["estimator"] for row in messages.values()} == {"owen"}
    shares = [row for row in rows(config, "message_credits") if row["credit"] is not None]
    assert {row["estimator"] for row in shares} == {"owen"}
    for row in shares:
        assert row["credit"] == messages[row["trajectory_id"], str(row["message_index"])]["credit"]
    assert Store(config.store_root).verify("r") == []


def test_another_way_of_solving_takes_the_place_of_the_first_for_all_its_games(tmp_path: Path, engine: ScriptedEngine):
    config = credited(tmp_path)
    before = by_player(config)
    again = configured(tmp_path, annotate={"players": "messages", "limit": 1})
    assert annotate_all(again)[1] > 0
    assert Store(config.store_root).verify("r") == []
    assert by_player(config) == before
    assert by_player(config, "message")
    annotate_all(configured(tmp_path, annotate={"estimator": "permutation"}))
    assert Store(config.store_root).verify("r") == []
    assert {row["estimator"] for row in rows(config, "credits")} == {"permutation"}
    assert by_player(config).keys() == before.keys()


def twice(prompt: str) -> str:
    """As `reply`, with a second question to the left one."""
    if "I lead" in prompt and prompt.count("left: It is") == 1:
        return "ask left: " + re.findall(r"Question: What is (.*)\?", prompt)[-1]
    return reply(prompt.replace("</user>", "\n</user>"))


def test_where_the_messages_exceed_the_budget_the_agents_credit_is_shared_out(tmp_path: Path, engine: ScriptedEngine):
    engine.reply = twice
    config = credited(tmp_path, players="messages", budget=8)
    assert {row["player_kind"] for row in rows(config, "games")} == {"agent"}
    shares = [row for row in rows(config, "message_credits") if row["credit"] is not None]
    assert {row["estimator"] for row in shares} == {"exact"}
    parts: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in shares:
        parts[row["trajectory_id"], row["agent"]].append(row["credit"])
    assert {agent: len(some) for (_, agent), some in parts.items()} == {"boss": 2, "left": 4, "right": 1}
    agents = by_player(config)
    assert {key: pytest.approx(sum(some), abs=1e-9) for key, some in parts.items()} == {
        key: row["credit"] for key, row in agents.items()
    }
    exact = configured(tmp_path, annotate={"players": "messages", "budget": 64})
    annotate_all(exact)
    assert {row["player_kind"] for row in rows(exact, "games")} == {"agent", "message"}


def test_a_token_budget_that_no_plan_meets_sets_the_games_aside(tmp_path: Path, engine: ScriptedEngine):
    config = credited(tmp_path, estimator="permutation", budget=64)
    assert len(rows(config, "coalitions")) == 6 * 8
    annotate_all(configured(tmp_path, annotate={"estimator": "permutation", "budget": 64, "token_budget": 50}))
    aside = [row["reason"] for row in rows(config, "rejects") if row["stage"].startswith("annotate")]
    assert len(aside) == 6
    assert all("costs at most 50 tokens and 64 coalitions; raise the budget" in reason for reason in aside)
    assert rows(config, "coalitions") == []
    assert Store(config.store_root).verify("r") == []


def test_a_vote_is_counted_again_without_each_voter(tmp_path: Path, engine: ScriptedEngine):
    engine.reply = vote
    config = configured(tmp_path, team=VOTERS, sample={"group_size": 1, "solo": False}, annotate={"on": "all"})
    sample_all(config)
    sampled = len(engine.rounds)
    assert annotate_all(config)[1] == 4
    assert len(engine.rounds) == sampled
    assert not engine.scored
    questions = {row["task_id"]: row["question"] for row in rows(config, "tasks")}
    loo = {(questions[row["task_id"]], player): row["loo"] for (_, player), row in by_player(config).items()}
    assert [loo["What is 0+1?", name] for name in ("one", "two", "three")] == [0.5, 0.5, 0.0]
    assert [loo["What is 1+1?", name] for name in ("one", "two", "three")] == [0.0, -0.5, -0.5]
    assert {row["value_kind"] for row in rows(config, "games")} == {"recount"}
    assert Store(config.store_root).verify("r") == []


def test_only_a_vote_can_be_counted_again(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path, annotate={"value": "recount"})
    sample_all(config)
    with pytest.raises(UserError, match="a planner_workers team takes no vote"):
        Credit(Run(config, "r"))
