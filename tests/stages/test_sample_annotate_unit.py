"""The main road with a scripted engine: what stands is not done again, what is damaged is, and it all adds up."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedEngine, decoded

from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.core.progress import watched
from apportion.pipeline.engines.checkpoints import check_window
from apportion.pipeline.runs.run import Run
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.credit import Credit
from apportion.pipeline.stages.foresee_credit import foresee
from apportion.pipeline.stages.sample import Sample
from apportion.pipeline.stages.stage import play

TEAM = {
    "name": "pair",
    "agents": [
        {"name": "boss", "role": "planner", "system": "I lead", "examples": [["Question: hm?", "answer: hm"]]},
        {"name": "left", "role": "worker", "system": "I reckon", "tools": {"calc": "calculator"}},
        {"name": "right", "role": "worker", "system": "I guess"},
    ],
    "tools": {"calculator": {"kind": "calculator"}},
    "solo": {"name": "lone", "role": "solo", "tools": {"calc": "calculator"}},
}


def reply(prompt: str) -> str:
    """The planner asks both and repeats what the left one says, which is wrong for question 3."""
    if "I reckon" in prompt:
        result = re.findall(r"result: (\d+)", prompt)
        return f"It is {result[-1]}" if result else "calc: " + re.findall(r"ask left: (.*)", prompt)[-1]
    if "I guess" in prompt:
        return "many"
    found = re.findall(r"left: It is (\d+)", prompt)
    if found:
        return f"answer: {found[-1]}"
    asked = re.findall(r"Question: What is (.*)\?", prompt)[-1].replace("3+1", "3+2")
    return f"ask left: {asked}\nask right: {asked}" if "I lead" in prompt else "calc: " + asked


def configured(folder: Path, **sections: dict[str, Any]) -> Config:
    """Four questions, two rollouts each, in two shards of the team and two of the baseline."""
    model, tasks = folder / "model", folder / "tasks.jsonl"
    model.mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (model / name).write_text("{}")
    if not tasks.exists():
        rows = [{"question": f"What is {n}+1?", "answer": str(n + 1)} for n in range(4)]
        tasks.write_text("\n".join([*map(json.dumps, rows), '{"question": "no answer"}', "{bad"]))
    values: dict[str, Any] = {
        "run": {"name": "r", "data": str(folder / "data")},
        "model": {"path": str(model)},
        "tasks": {"path": str(tasks)},
        "team": TEAM,
        "sample": {"group_size": 2, "shard_size": 4},
    }
    return load_config(
        None, (), {name: values.get(name, {}) | sections.get(name, {}) for name in {**values, **sections}}
    )


def sample_all(config: Config) -> list[str]:
    """Sample what is pending; the names of the shards."""
    stage = Sample(config)
    pending = stage.pending
    play(stage)
    return [shard.name for shard in pending]


def annotate_all(config: Config, run: str = "r") -> tuple[list[str], int]:
    """Annotate what is pending; the shards' sources and the number of games."""
    plan = Credit(Run(config, run))
    pending = plan.pending
    return [shard.source for shard in pending], sum(plan.work(shard) for shard in pending)


def rows(config: Config, table: str, run: str = "r") -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = Store(config.store_root).read(table, run).to_pylist()
    return result


def everything(config: Config, *tables: str) -> dict[str, list[dict[str, Any]]]:
    return {table: rows(config, table) for table in tables}


def damage(path: Path) -> None:
    """Change bytes in the middle of a shard, where only its checksums tell."""
    content = bytearray(path.read_bytes())
    for at in range(8, 40):
        content[at] ^= 0xFF
    path.write_bytes(bytes(content))


def test_sampled_run_holds_every_rollout_of_team_and_baseline(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path)
    assert sample_all(config) == ["sampled-00000", "sampled-00001", "solo-00000", "solo-00001"]
    trajectories = rows(config, "trajectories")
    by_origin = defaultdict(list)
    for one in trajectories:
        by_origin[one["origin"]].append(one["success"])
    assert {origin: sorted(found) for origin, found in by_origin.items()} == {
        "sampled": [False] * 2 + [True] * 6,
        "solo": [False] * 8,
    }
    assert {one["team"] for one in trajectories} == {"pair", "solo"}
    assert engine.resets == 4
    assert Store(config.store_root).verify("r") == []


def test_bad_task_rows_are_set_aside_with_file_line_and_reason(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path)
    sample_all(config)
    found = [(one["stage"], one["file"], one["line"]) for one in rows(config, "rejects")]
    assert found == [("tasks", str(tmp_path / "tasks.jsonl"), 5), ("tasks", str(tmp_path / "tasks.jsonl"), 6)]
    assert "not JSON" in rows(config, "rejects")[1]["reason"]
    assert rows(config, "rejects")[1]["raw"] == "{bad"
    assert len(rows(config, "tasks")) == 4


def test_without_the_baseline_the_team_alone_is_sampled(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path, sample={"group_size": 3, "shard_size": 4, "solo": False})
    assert len(sample_all(config)) == 4
    assert {one["origin"] for one in rows(config, "trajectories")} == {"sampled"}


def test_a_group_is_never_split_over_shards(tmp_path: Path, engine: ScriptedEngine):
    for shard in Sample(configured(tmp_path, sample={"group_size": 3, "shard_size": 7})).shards:
        groups = [rollout.group_id for rollout in shard.rollouts]
        assert all(groups.count(group) == 3 for group in groups)


def test_credits_sum_to_what_the_team_added_and_message_credits_to_their_agents(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path)
    sample_all(config)
    assert annotate_all(config) == (["sampled-00000", "sampled-00001"], 6)
    coalitions, games = defaultdict(dict), {one["game_id"]: one for one in rows(config, "games")}
    for one in rows(config, "coalitions"):
        coalitions[one["game_id"]][one["kept"]] = one["value"]
    credits = defaultdict(dict)
    for one in rows(config, "credits"):
        credits[one["game_id"]][one["player"]] = one
        assert one["estimator"] == "exact"
        assert (one["v_full"], one["v_empty"]) == (coalitions[one["game_id"]]["111"], coalitions[one["game_id"]]["000"])
    assert len(games) == len(credits) == 6
    shared = defaultdict(float)
    for one in rows(config, "message_credits"):
        shared[one["game_id"], one["agent"]] += one["credit"] or 0.0
    for game, players in credits.items():
        values = coalitions[game]
        assert set(players) == set(games[game]["players"]) == {"boss", "left", "right"}
        assert sum(p["credit"] for p in players.values()) == pytest.approx(values["111"] - values["000"], abs=1e-9)
        assert any(abs(p["credit"]) > 1e-6 for p in players.values())
        for name, player in players.items():
            assert shared[game, name] == pytest.approx(player["credit"], abs=1e-9)
    assert {p["role"] for p in credits[game].values()} == {"planner", "worker"}
    assert Store(config.store_root).verify("r") == []


def test_every_message_of_a_player_shares_in_its_credit_and_the_answer_does_not(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path)
    sample_all(config)
    annotate_all(config)
    credited = {(m["trajectory_id"], m["message_index"]): m["credit"] for m in rows(config, "message_credits")}
    turns = [m for m in rows(config, "messages") if m["role"] == "assistant"]
    games = {one["trajectory_id"] for one in rows(config, "games")}
    assert set(credited) == {(m["trajectory_id"], m["message_index"]) for m in turns if m["trajectory_id"] in games}
    outcome = {(m["trajectory_id"], m["message_index"]) for m in turns if m["is_outcome"]}
    assert {key for key, credit in credited.items() if credit is None} == outcome & set(credited)


def test_the_grand_coalition_is_scored_on_the_prompt_that_was_sampled_from(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path)
    sample_all(config)
    answers = {decoded(m["prompt_ids"]) for m in rows(config, "messages") if m["is_outcome"] and m["agent"] == "boss"}
    annotate_all(config)
    scored = {decoded(request.prefix_ids) for requests in engine.scored for request in requests}
    right = {prompt + "answer:" for prompt in answers if "What is 3" not in prompt}
    assert len(right) == 3
    assert right <= scored


def test_on_all_credits_the_failures_as_well(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path, annotate={"on": "all"})
    sample_all(config)
    assert annotate_all(config)[1] == 8
    assert Store(config.store_root).verify("r") == []


def test_leak_is_the_share_of_a_players_words_that_others_repeat(tmp_path: Path, engine: ScriptedEngine):
    def leaks(folder: str, told: str, repeated: str) -> set[float]:
        said = {"I reckon": told, "I guess": repeated}
        engine.reply = lambda prompt: next(
            (text for key, text in said.items() if key in prompt), "ask left: a\nask right: b"
        )
        (tmp_path / folder).mkdir()
        config = configured(tmp_path / folder, annotate={"on": "all"})
        sample_all(config)
        annotate_all(config)
        return {one["leak"] for one in rows(config, "games")}

    assert leaks("quoted", "the red fox sleeps", "I heard the red fox sleeps") == {1.0}
    assert leaks("fresh", "the red fox sleeps", "no idea at all") == {0.0}


def test_limit_bounds_the_games_of_a_shard(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path, annotate={"limit": 1})
    sample_all(config)
    assert annotate_all(config)[1] == 2


def test_running_again_does_nothing(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path)
    sample_all(config)
    annotate_all(config)
    calls, paths = len(engine.rounds), sorted(config.store_root.rglob("part-*.parquet"))
    times = [path.stat().st_mtime_ns for path in paths if "part-00000" not in path.name]
    assert sample_all(config) == []
    assert annotate_all(config) == ([], 0)
    assert len(engine.rounds) == calls
    assert [path.stat().st_mtime_ns for path in paths if "part-00000" not in path.name] == times


@pytest.mark.parametrize("hurt", [Path.unlink, damage])
@pytest.mark.parametrize("table", ["messages", "trajectories"])
def test_a_lost_shard_alone_is_sampled_again_with_the_same_rows(
    tmp_path: Path, engine: ScriptedEngine, table: str, hurt: Any
):
    config = configured(tmp_path)
    sample_all(config)
    before = everything(config, "messages", "trajectories")
    hurt(config.store_root / table / "run_id=r" / "part-sampled-00001.parquet")
    assert sample_all(config) == ["sampled-00001"]
    assert everything(config, "messages", "trajectories") == before


@pytest.mark.parametrize(
    ("table", "hurt"),
    [
        ("games", damage),
        ("coalitions", damage),
        ("message_credits", damage),
        ("credits", damage),
        ("credits", Path.unlink),
        ("rejects", Path.unlink),
    ],
)
def test_a_lost_shard_alone_is_annotated_again_with_the_same_rows(
    tmp_path: Path, engine: ScriptedEngine, table: str, hurt: Any
):
    config = configured(tmp_path)
    sample_all(config)
    annotate_all(config)
    names = ("games", "coalitions", "message_credits", "credits")
    before = everything(config, *names)
    path = next((config.store_root / table / "run_id=r").rglob("part-sampled-00001-*.parquet"))
    hurt(path)
    assert annotate_all(config)[0] == ["sampled-00001"]
    assert everything(config, *names) == before
    assert annotate_all(config)[0] == []


def test_another_configuration_of_the_same_name_is_refused_with_three_cures(tmp_path: Path, engine: ScriptedEngine):
    sample_all(configured(tmp_path))
    with pytest.raises(UserError) as caught:
        sample_all(configured(tmp_path, sample={"group_size": 2, "shard_size": 4, "temperature": 0.1}))
    line = str(caught.value)
    assert "run 'r' exists and was made from another configuration" in line
    for cure in ("--set run.name=NAME", "apportion runs remove r", "repeat it as it was"):
        assert cure in line


def test_an_engine_that_fails_leaves_no_run_behind_and_a_taken_name_starts_none(
    tmp_path: Path, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
):
    def fails(model: Any, data_root: Path) -> ScriptedEngine:
        raise WorkError("weights in vLLM are not those of model")

    with monkeypatch.context() as patched:
        patched.setattr("apportion.pipeline.engines.running.engine_for", fails)
        with pytest.raises(WorkError, match="not those of"):
            sample_all(configured(tmp_path))
        assert not Store(tmp_path / "data/runs").runs()
    assert len(sample_all(configured(tmp_path))) == 4
    monkeypatch.setattr("apportion.pipeline.engines.running.engine_for", fails)
    with pytest.raises(UserError, match="was made from another configuration"):
        sample_all(configured(tmp_path, sample={"group_size": 4}))


def test_annotate_keys_may_change_under_the_same_name(tmp_path: Path, engine: ScriptedEngine):
    sample_all(configured(tmp_path))
    assert sample_all(configured(tmp_path, annotate={"masking": "drop"})) == []


def test_trajectories_that_cannot_be_played_are_set_aside_with_the_reason(tmp_path: Path, engine: ScriptedEngine):
    engine.reply = lambda prompt: "answer: 1"
    config = configured(tmp_path, annotate={"on": "all"})
    sample_all(config)
    assert annotate_all(config)[1] == 0
    found = [one for one in rows(config, "rejects") if one["stage"].startswith("annotate")]
    assert len(found) == 8
    assert all("nobody but the answering message spoke" in one["reason"] for one in found)
    assert annotate_all(config)[0] == []
    assert Store(config.store_root).verify("r") == []


def test_a_view_beyond_the_window_is_cut_or_set_aside(tmp_path: Path, engine: ScriptedEngine):
    chatty = "blah " * 60
    engine.reply = lambda prompt: chatty[:190] if "I guess" in prompt else reply(prompt)
    config = configured(tmp_path, model={"path": str(tmp_path / "model"), "max_model_len": 330}, sample={
        "group_size": 2, "shard_size": 4, "max_tokens": 200,
    })  # fmt: skip
    sample_all(config)
    games = annotate_all(config)[1]
    assert games == 6
    assert all(one["truncated"] for one in rows(config, "coalitions"))
    assert all(one["prompt_tokens"] < 330 for one in rows(config, "coalitions"))
    assert Store(config.store_root).verify("r") == []


def test_cost_of_a_dry_run_is_what_the_engine_is_asked_for(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path)
    sample_all(config)
    cost = foresee(Credit(Run(config, "r")), engine.tokenizer).total
    assert engine.scored == []
    annotate_all(config)
    requests = [request for requests in engine.scored for request in requests]
    assert (cost["games"], cost["coalitions"]) == (6, len(requests)) == (6, 48)
    assert cost["prompt_tokens"] == sum(len(request.ids) for request in requests)
    assert 0 < cost["distinct_tokens"] < cost["prompt_tokens"]
    assert foresee(Credit(Run(config, "r")), engine.tokenizer).total["games"] == 0


def test_progress_is_told_to_the_watcher(tmp_path: Path, engine: ScriptedEngine):
    seen: dict[str, list[int]] = {}

    class Watcher:
        def start(self, name: str, total: int) -> Any:
            seen[name] = [total, 0]
            return lambda units: seen[name].__setitem__(1, seen[name][1] + units)

    config = configured(tmp_path)
    with watched(Watcher()):
        sample_all(config)
        annotate_all(config)
    assert seen["sampling sampled-00000"] == [4, 4]
    assert seen["coalitions sampled-00000"][0] > 0
    assert all(total == done for total, done in seen.values())


def test_unknown_run_names_the_known_ones(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path)
    with pytest.raises(UserError, match="run 'r' has no trajectories; runs here: none yet"):
        Credit(Run(config, "r"))
    sample_all(config)
    with pytest.raises(UserError, match="run 'q' has no trajectories; runs here: r"):
        Credit(Run(config, "q"))


def test_window_beyond_what_the_model_was_trained_for_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 2048}')
    check_window(tmp_path, 2048)
    with pytest.raises(UserError, match=r"model.max_model_len = 4096: .* at most 2048 tokens"):
        check_window(tmp_path, 4096)


def test_tasks_may_come_from_a_function_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_own_tasks.py").write_text(
        "from apportion.pipeline.trajectory.task import make_task\n"
        "def some(n):\n    return [make_task(str(i), ['x'], source='own', split='all') for i in range(n)]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = configured(tmp_path, tasks={"source": "my_own_tasks:some", "options": {"n": 5}, "limit": 3})
    assert [task.question for task in Sample(config).tasks] == ["0", "1", "2"]


def test_a_verifiers_settings_judge_the_run(tmp_path: Path, engine: ScriptedEngine):
    tasks = {"verifier": "number", "verifier_options": {"absolute": 1000}}
    config = configured(tmp_path, tasks=tasks)
    sample_all(config)
    # Every answer that is a number lies within 1000 of the right one.
    answered = [one["success"] for one in rows(config, "trajectories") if one["answer"] is not None]
    assert answered
    assert all(answered)
    with pytest.raises(UserError, match="did you mean 'absolute'"):
        Sample(configured(tmp_path, tasks={"verifier": "number", "verifier_options": {"absolut": 1000}}))
