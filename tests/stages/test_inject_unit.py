"""Faults planted in the successes of a run with a scripted engine: labelled, continued, and nobody else's business."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedEngine
from test_sample_annotate_unit import configured, sample_all

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.frames import rows
from apportion.pipeline.runs.run import Run
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.blame import Blame
from apportion.pipeline.stages.credit import Credit
from apportion.pipeline.stages.inject import Inject, Injected


def plant(config: Config) -> list[Injected]:
    plan = Inject(Run(config, "r"))
    return [plan.work(shard) for shard in plan.pending]


@pytest.fixture
def config(tmp_path: Path, engine: ScriptedEngine) -> Config:
    made = configured(tmp_path, sample={"group_size": 2, "shard_size": 8}, inject={"each": 8})
    sample_all(made)
    return made


def read(config: Config, table: str) -> list[dict[str, Any]]:
    return rows(Store(config.store_root).read(table, "r"))


def injected(config: Config) -> list[dict[str, Any]]:
    return [row for row in read(config, "trajectories") if row["origin"] == "injected"]


def test_a_fault_stands_at_its_step_after_the_parents_own_words(config: Config):
    (counted,) = plant(config)
    made, said = injected(config), {}
    for row in read(config, "messages"):
        said.setdefault(row["trajectory_id"], []).append(row)
    assert len(made) == counted.failed + counted.recovered
    assert {row["fault_kind"] for row in made} == {
        "wrong_number", "wrong_tool_input", "dropped_fact", "contradiction",
    }  # fmt: skip
    for row in made:
        step, parent = row["fault_step"], said[row["parent_trajectory_id"]]
        mine = said[row["trajectory_id"]]
        assert row["branch_message_index"] == step
        assert [m["text"] for m in mine[:step]] == [m["text"] for m in parent[:step]]
        assert mine[step]["text"] != parent[step]["text"]
        assert (mine[step]["agent"], mine[step]["role"]) == (row["fault_agent"], "assistant")
    assert Store(config.store_root).verify("r") == []


def test_what_came_of_a_fault_is_the_verifiers_word(config: Config):
    # the boss repeats what the left helper says it is: a wrong number there is wrong in the answer, too
    plant(config)
    for row in injected(config):
        if row["fault_kind"] == "wrong_number":
            assert row["success"] is False
        if row["fault_kind"] == "contradiction":
            assert row["success"] is True  # the first number it finds is the right one


def test_a_shard_that_stands_is_not_done_again(config: Config, engine: ScriptedEngine):
    plant(config)
    rounds = len(engine.rounds)
    assert plant(config) == []
    assert len(engine.rounds) == rounds
    other = config.model_copy(update={"inject": config.inject.model_copy(update={"kinds": ["dropped_fact"]})})
    plant(other)
    assert {row["fault_kind"] for row in injected(config)} == {"dropped_fact"}


def test_nobody_takes_them_for_the_policys_own(config: Config):
    before = [shard.source for shard in Credit(Run(config, "r")).shards]
    plant(config)
    assert [shard.source for shard in Credit(Run(config, "r")).shards] == before
    assert not any("inject" in shard.source for shard in Blame(Run(config, "r")).shards)


def test_a_run_is_continued_under_its_own_conditions(config: Config):
    other = config.model_copy(update={"sample": config.sample.model_copy(update={"temperature": 0.1})})
    with pytest.raises(UserError, match="sampled with another"):
        Inject(Run(other, "r"))
    with pytest.raises(UserError, match="no sampled rollouts"):
        Inject(Run(config, "elsewhere"))


def test_the_faults_do_not_depend_on_what_else_is_asked(config: Config):
    plan = Inject(Run(config, "r"))
    first = [(log.trajectory_id, fault) for log, fault in plan.planned(plan.shards[0])]
    again = [(log.trajectory_id, fault) for log, fault in plan.planned(plan.shards[0])]
    assert first == again
    logs = [log for log in Run(config, "r").logs("sampled-00000") if log.trajectory["success"]]
    assert {name for name, _ in first} == {log.trajectory_id for log in logs}
