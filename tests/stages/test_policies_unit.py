"""A team in which one agent has a policy of its own: who writes what with which tokenizer, and what is trained."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted import ByteTokenizer, ScriptedEngine, decoded
from test_failures_unit import better, fail, read
from test_sample_annotate_unit import TEAM, annotate_all, configured, reply, sample_all
from test_train_unit import jobs  # noqa: F401

from apportion.cli import app as cli
from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.engines.base import Engine
from apportion.pipeline.engines.policy import policies_of
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages import loop, train
from apportion.pipeline.stages.sample import Sample
from apportion.pipeline.training.job import Job


class DashTokenizer(ByteTokenizer):
    """Another template."""

    def apply_chat_template(
        self, turns: Sequence[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        return "".join(f"- {turn['role']}: {turn['content']}\n" for turn in turns) + "- assistant: "


Engines = dict[str, ScriptedEngine]


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    """By the name of the checkpoint's folder."""
    made = {"model": ScriptedEngine(once_wrong()), "small": ScriptedEngine(reply, tokenizer=DashTokenizer())}

    def engine_for(model: Any, root: Path, beside: Sequence[Engine] = ()) -> ScriptedEngine:
        return made[Path(model.path).name]

    monkeypatch.setattr("apportion.pipeline.engines.running.engine_for", engine_for)
    return made


def once_wrong() -> Any:
    """The boss asks question 3 wrongly in the first of its rollouts."""
    asked = {"n": 0}

    def write(prompt: str) -> str:
        text = reply(prompt)
        if "I lead" in prompt and "3+2" in text:
            asked["n"] += 1
            return text if asked["n"] == 1 else text.replace("3+2", "3+1")
        return text

    return write


def mixed(folder: Path, weights: str = "small", **sections: dict[str, Any]) -> Config:
    """The left worker speaks with the policy `small`."""
    small = folder / "small"
    small.mkdir(exist_ok=True)
    for name, text in {"config.json": "{}", "model.safetensors": weights, "tokenizer.json": '{"of": "small"}'}.items():
        (small / name).write_text(text)
    agents = [agent | ({"policy": "small"} if agent["name"] == "left" else {}) for agent in TEAM["agents"]]
    shared: dict[str, dict[str, Any]] = {
        "policies": {"small": {"path": str(small)}}, "team": {**TEAM, "agents": agents},
        "sample": {"group_size": 2, "shard_size": 8}, "export": {"validation": 0.0},
    }  # fmt: skip
    return configured(folder, **shared | sections)


def test_every_message_is_written_by_its_agents_policy_with_its_own_template(tmp_path: Path, engines: Engines):
    config = mixed(tmp_path)
    sample_all(config)
    policies = policies_of(config)
    team, small = policies.team.id, policies.named("small").id
    wrote = {(row["agent"], row["policy_id"]) for row in read(config, "messages") if row["completion_ids"]}
    assert wrote == {("boss", team), ("left", small), ("right", team), ("lone", team)}
    assert [row["policy_id"] for row in read(config, "policies")] == sorted([team, small])
    prompts = [decoded(request.prompt_ids) for round in engines["small"].rounds for request in round]
    assert prompts
    assert all(prompt.startswith("- system: I reckon\n") for prompt in prompts)
    assert not any("I reckon" in decoded(r.prompt_ids) for round in engines["model"].rounds for r in round)
    assert Store(config.store_root).verify("r") == []


def test_a_round_is_one_batch_per_policy_and_its_messages_keep_their_order(tmp_path: Path, engines: Engines):
    """Eight conversations: the boss asks both; left calculates while right guesses; left reports; the boss answers."""
    sample_all(mixed(tmp_path, sample={"group_size": 2, "shard_size": 8, "solo": False}))
    assert [len(requests) for requests in engines["model"].rounds] == [8, 8, 8]
    assert [len(requests) for requests in engines["small"].rounds] == [8, 8]
    assert (engines["model"].resets, engines["small"].resets) == (1, 1)


def test_ids_depend_on_every_policy_that_speaks_and_on_no_other(tmp_path: Path, engines: Engines):
    def ids(config: Config) -> tuple[str, str, str]:
        found = Sample(config)
        return found.rules, found.spec, found.shards[0].rollouts[0].trajectory_id

    plain = ids(configured(tmp_path, sample={"group_size": 2, "shard_size": 8}))
    idle = mixed(tmp_path, team={**TEAM})
    assert ids(idle) == plain
    first = ids(mixed(tmp_path))
    other = ids(mixed(tmp_path, weights="of another training"))
    assert first[0] == other[0] != plain[0]
    assert len({plain[2], first[2], other[2]}) == len({plain[1], first[1], other[1]}) == 3


def test_a_run_is_continued_by_all_of_its_policies(tmp_path: Path, engines: Engines):
    config = mixed(tmp_path)
    sample_all(config)
    engines["model"].reply = better
    fail(config)
    small = policies_of(config).named("small").id
    continued = {t["trajectory_id"] for t in read(config, "trajectories") if t["origin"] == "monte_carlo"}
    rows = [m for m in read(config, "messages") if m["trajectory_id"] in continued and m["completion_ids"]]
    assert {m["policy_id"] for m in rows if m["agent"] == "left"} == {small}
    assert {m["policy_id"] for m in rows if m["agent"] == "boss"} == {policies_of(config).team.id}
    with pytest.raises(UserError, match=r"policies\.small\.path = .*small' did not sample run 'r'"):
        fail(mixed(tmp_path, weights="of another training"))


def test_credit_is_scored_by_the_teams_policy(tmp_path: Path, engines: Engines):
    config = mixed(tmp_path)
    sample_all(config)
    annotate_all(config)
    assert engines["model"].scored
    assert not engines["small"].scored
    assert {row["player"] for row in read(config, "credits")} == {"boss", "left", "right"}


def test_an_answer_is_written_anew_by_the_policy_of_the_agent_that_answers(tmp_path: Path, engines: Engines):
    """Here it is the boss that has a policy of its own; its game is another one with other weights."""
    agents = [agent | ({"policy": "small"} if agent["name"] == "boss" else {}) for agent in TEAM["agents"]]
    ids = []
    for weights, run in (("small", "r"), ("of another training", "s")):
        config = mixed(
            tmp_path, weights, run={"name": run}, team={**TEAM, "agents": agents},
            annotate={"value": "regenerate", "samples": 1, "limit": 1},
        )  # fmt: skip
        sample_all(config)
        before = [len(engine.rounds) for engine in engines.values()]
        annotate_all(config, run)
        assert [len(engine.rounds) for engine in engines.values()] == [before[0], before[1] + 1]
        assert decoded(engines["small"].rounds[-1][0].prompt_ids).startswith("- system: I lead\n")
        ids.append({row["scorer"] for row in Store(config.store_root).read("games", run).to_pylist()})
    assert not ids[0] & ids[1]


def test_grpo_trains_a_policy_on_its_own_messages_and_leaves_the_other(
    tmp_path: Path,
    engines: Engines,
    jobs: list[Job],  # noqa: F811
):
    config = mixed(tmp_path)
    sample_all(config)
    policies = policies_of(config)
    team, small = policies.team, policies.named("small")
    before = team.digests, small.digests
    for policy, agents in ((team, {"boss", "right"}), (small, {"left"})):
        planned = train.plan(config, "r", "grpo", policy=policy.name)
        rows = planned.data.to_pylist()
        assert ({row["agent"] for row in rows}, {row["policy_id"] for row in rows}) == (agents, {policy.id})
        train.run(planned)
    assert [(Path(job.model).name, Path(job.out).name) for job in jobs] == [
        ("model", "r-grpo-grpo"), ("small", "r-grpo-grpo-small"),
    ]  # fmt: skip
    assert (team.digests, small.digests) == before
    assert {row["parent"] for row in read(config, "policies") if row["version"] == 1} == {team.id, small.id}
    assert Store(config.store_root).verify("r") == []


def test_dpo_trains_a_policy_on_pairs_of_its_own_messages(
    tmp_path: Path,
    engines: Engines,
    jobs: list[Job],  # noqa: F811
):
    """It is the left worker that reports a wrong result, and would not again."""
    config = mixed(tmp_path)
    engines["model"].reply = better
    engines["small"].reply = lambda prompt: reply(prompt).replace("It is 4", "It is 9")
    sample_all(config)
    engines["small"].reply = reply
    fail(config)
    small = policies_of(config).named("small")
    planned = train.plan(config, "r", "dpo", policy="small")
    assert {(row["agent"], row["policy_id"]) for row in planned.data.to_pylist()} == {("left", small.id)}
    assert {row["policy_id"] for row in read(config, "repairs")} == {small.id}
    train.run(planned)
    assert [Path(job.model).name for job in jobs] == ["small"]
    with pytest.raises(train.NothingToLearnError, match="only agents of the policy of the team count"):
        train.plan(config, "r", "dpo")


def test_the_loop_moves_the_teams_policy_alone(tmp_path: Path):
    rounds = loop.plan(mixed(tmp_path, loop={"iterations": 2, "tasks": 2}))
    before, after = (policies_of(one) for one in (rounds[0].config, rounds[1].by(str(tmp_path / "new")).config))
    assert after.named("small") == before.named("small")
    assert (before.team.model.path, after.team.model.path) == (str(tmp_path / "model"), str(tmp_path / "new"))


def test_the_command_line_trains_the_policy_that_it_is_told(
    tmp_path: Path,
    engines: Engines,
    jobs: list[Job],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    config = mixed(tmp_path)
    sample_all(config)
    monkeypatch.setattr("apportion.pipeline.engines.checkpoints.check_whole", lambda path: None)

    def said(policy: str) -> str:
        call = ["train", "grpo", "--run", "r", "--policy", policy, "--set", f"run.data={config.run.data}"]
        monkeypatch.setattr(sys, "argv", ["apportion", *call])
        with pytest.raises(SystemExit):
            cli.main()
        return capsys.readouterr().err

    assert "policy 'smal': no agent has a policy of that name; did you mean 'small'?" in said("smal")
    err = said("small")
    assert "training grpo-grpo-small on 2 sequences" in err
    assert f"use it with --set policies.small.path={config.data_root / 'checkpoints' / 'r-grpo-grpo-small'}" in err
    assert json.loads((Path(jobs[0].out) / "apportion.json").read_text())["base"] == str(tmp_path / "small")


def test_what_is_wrong_with_a_policy_is_told_by_its_own_key(tmp_path: Path, engines: Engines):
    config = mixed(tmp_path)
    (tmp_path / "small" / "config.json").write_text('{"max_position_embeddings": 100}')
    with pytest.raises(UserError, match=r"^config: policies\.small\.max_model_len = 4096: this model was trained"):
        Sample(config)
    (tmp_path / "small" / "config.json").unlink()
    with pytest.raises(UserError, match=r"^policies\.small\.path = .* the folder has no config\.json"):
        Sample(config)
