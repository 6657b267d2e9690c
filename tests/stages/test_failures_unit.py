"""The failure branch with a scripted engine: the step that went wrong is found, repaired, confirmed and paired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedEngine
from test_sample_annotate_unit import configured, reply, sample_all

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.frames import rows
from apportion.pipeline.runs.run import Run
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.blame import Blame


def better(prompt: str) -> str:
    """The same team, had it asked the right question; it cannot undo one that was asked wrong."""
    return reply(prompt).replace("3+2", "3+1") if "I lead" in prompt else reply(prompt)


def fail(config: Config, run: str = "r") -> list[str]:
    plan = Blame(Run(config, run))
    pending = plan.pending
    for shard in pending:
        plan.work(shard)
    return [shard.source for shard in pending]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    made = ScriptedEngine(reply)
    monkeypatch.setattr("apportion.pipeline.engines.running.engine_for", lambda model, root: made)
    return made


@pytest.fixture
def failed(tmp_path: Path, engine: ScriptedEngine) -> Config:
    """Question 3 is asked wrongly in both rollouts; from now on the boss would ask it rightly."""
    config = configured(tmp_path, sample={"group_size": 2, "shard_size": 8}, export={"validation": 0.0})
    sample_all(config)
    engine.reply = better
    return config


def read(config: Config, table: str) -> list[dict[str, Any]]:
    return rows(Store(config.store_root).read(table, "r"))


def test_the_wrong_message_is_found_repaired_confirmed_and_paired(failed: Config):
    assert fail(failed) == ["sampled-00000", "sampled-00000"]  # by the localizer, and beside winning siblings
    wrong = {row["trajectory_id"] for row in read(failed, "trajectories") if row["origin"] == "sampled"} & {
        row["trajectory_id"] for row in read(failed, "localizations")
    }
    assert len(wrong) == 2
    for row in read(failed, "localizations"):
        message = next(
            m
            for m in read(failed, "messages")
            if (m["trajectory_id"], m["message_index"]) == (row["trajectory_id"], row["first_error"])
        )
        assert (row["agent"], message["text"]) == ("boss", "ask left: 3+2\nask right: 3+2")
        assert row["confidence"] == 1.0
    repairs = read(failed, "repairs")
    assert [(r["text"], r["agent"], r["proposal"]) for r in repairs] == [
        ("ask left: 3+1\nask right: 3+1", "boss", "monte_carlo")
    ] * 2
    for r in repairs:
        assert (r["selection_k"], r["selection_successes"]) == (4, 4)
        assert (r["confirmation_k"], r["confirmation_successes"]) == (4, 4)
        assert (r["baseline_k"], r["baseline_successes"]) == (4, 0)
    (pair,) = read(failed, "preferences")  # both failures say the same: one pair
    assert pair["kind"] == "first_error"
    assert pair["chosen"][0]["content"] == "ask left: 3+1\nask right: 3+1"
    assert pair["rejected"][0]["content"] == "ask left: 3+2\nask right: 3+2"
    assert bytes(pair["chosen_ids"]).decode() == "ask left: 3+1\nask right: 3+1"
    assert bytes(pair["rejected_ids"]).decode() == "ask left: 3+2\nask right: 3+2"
    assert pair["margin"] == 1.0
    assert Store(failed.store_root).verify("r") == []


def test_values_of_prefixes_are_success_shares(failed: Config):
    fail(failed)
    by_step = {r["message_index"]: r for r in read(failed, "steps")}
    first, *later = [by_step[i] for i in sorted(by_step)]
    assert (first["value_before"], first["value_after"], first["score"]) == (1.0, 0.0, -1.0)
    assert later
    assert all((r["value_before"], r["value_after"]) == (0.0, 0.0) for r in later)


def test_continuations_repeat_the_prefix_and_are_kept_as_rollouts(failed: Config):
    fail(failed)
    recorded: dict[str, list[str]] = {}
    for m in read(failed, "messages"):
        recorded.setdefault(m["trajectory_id"], []).append(m["text"])
    made = [t for t in read(failed, "trajectories") if t["origin"] in ("monte_carlo", "repair")]
    assert made
    assert len({t["trajectory_id"] for t in made}) == len(made)
    for t in made:
        parent, branch = t["parent_trajectory_id"], t["branch_message_index"]
        assert recorded[t["trajectory_id"]][:branch] == recorded[parent][:branch]


def test_value_drop_repairs_as_well(failed: Config, engine: ScriptedEngine):
    # the reference 4 is likely until somebody says 3+2
    engine.log_p = lambda prefix, byte: -3.0 if "3+2" in prefix else -0.1
    config = failed.model_copy(
        update={"failures": failed.failures.model_copy(update={"localizer": "value_drop", "contrast": False})}
    )
    fail(config)
    assert {r["localizer"] for r in read(config, "localizations")} == {"value_drop"}
    assert {r["first_error"] for r in read(config, "localizations")} == {
        min(r["message_index"] for r in read(config, "steps"))
    }
    assert all(r["confirmation_successes"] == 4 for r in read(config, "repairs"))
    assert len(read(config, "preferences")) == 1


def test_without_alternatives_failures_are_located_and_nothing_is_repaired(failed: Config):
    section = failed.failures.model_copy(update={"alternatives": 0, "contrast": False})
    config = failed.model_copy(update={"failures": section})
    fail(config)
    assert all(r["first_error"] is not None for r in read(config, "localizations"))
    assert read(config, "repairs") == []


def test_nothing_found_is_unlocalized_and_makes_no_pair(failed: Config, engine: ScriptedEngine):
    engine.reply = reply  # the boss would ask as wrongly again
    fail(failed)
    assert [r["first_error"] for r in read(failed, "localizations")] == [None, None]
    assert read(failed, "repairs") == []
    assert read(failed, "preferences") == []


def test_finished_shards_stand_and_another_setting_does_them_again(failed: Config):
    fail(failed)
    before = read(failed, "preferences")
    assert fail(failed) == []
    other = failed.model_copy(update={"failures": failed.failures.model_copy(update={"confirmations": 3})})
    assert fail(other) == ["sampled-00000", "sampled-00000"]
    assert [r["chosen_k"] for r in read(other, "preferences")] == [3]
    assert before[0]["chosen_k"] == 4
    assert Store(failed.store_root).verify("r") == []


def test_a_narrower_choice_loses_nothing_and_localizers_stand_side_by_side(failed: Config, engine: ScriptedEngine):
    fail(failed)

    def again(**keys: Any) -> Config:
        return failed.model_copy(update={"failures": failed.failures.model_copy(update=keys)})

    assert fail(again(limit=1)) == []
    assert len(read(failed, "localizations")) == 2
    engine.log_p = lambda prefix, byte: -3.0 if "3+2" in prefix else -0.1
    fail(again(localizer="value_drop"))
    assert sorted(r["localizer"] for r in read(failed, "localizations")) == ["monte_carlo"] * 2 + ["value_drop"] * 2
    assert Store(failed.store_root).verify("r") == []


def test_a_trained_policy_or_another_team_may_not_repair(failed: Config):
    team = failed.team.model_copy(update={"max_turns": 2})
    with pytest.raises(UserError, match="another team"):
        Blame(Run(failed.model_copy(update={"team": team}), "r"))


def test_a_tool_that_breaks_down_is_nobodys_failure(failed: Config, monkeypatch: pytest.MonkeyPatch):
    def broken(self: Any, text: str) -> Any:
        raise OSError("unplugged")

    monkeypatch.setattr("apportion.pipeline.tools.calculator.Calculator.run", broken)
    fail(failed)
    assert [r["first_error"] for r in read(failed, "localizations")] == [None, None]
    assert all(r["value_before"] is None for r in read(failed, "steps") if r["message_index"] < 7)
    faults = [t for t in read(failed, "trajectories") if t["error"] and "unplugged" in t["error"]]
    assert faults
    assert all(t["success"] is None for t in faults)


def test_another_model_may_not_repair(failed: Config, tmp_path: Path):
    (tmp_path / "other").mkdir()
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / "other" / name).write_text("{}")
    (tmp_path / "other" / "model.safetensors").write_text("{1}")
    other = failed.model_copy(update={"model": failed.model.model_copy(update={"path": str(tmp_path / "other")})})
    with pytest.raises(UserError, match="did not sample run 'r'"):
        Blame(Run(other, "r"))


def test_the_limit_takes_every_task_once_before_any_twice(tmp_path: Path, engine: ScriptedEngine):
    engine.reply = lambda prompt: "answer: no"
    config = configured(
        tmp_path, sample={"group_size": 2, "shard_size": 8, "solo": False}, failures={"limit": 5, "localizer": "none"}
    )
    sample_all(config)
    config = config.model_copy(update={"failures": config.failures.model_copy(update={"localizer": "monte_carlo"})})
    plan = Blame(Run(config, "r"))
    found = plan.failures(plan.shards[0].source)
    logs = found.logs
    assert len({log.task.task_id for log in logs[:4]}) == 4
    assert len(plan._wanted(plan.shards[0], found)) == 5
