"""Advantages, jobs, exports and the plan of the loop, from a scripted run: what is trained on, refused, and stands."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from scripted import ScriptedEngine
from test_failures_unit import better, fail, read
from test_sample_annotate_unit import annotate_all, configured, reply, sample_all

from apportion.cli import app as cli
from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.places import hold
from apportion.pipeline.engines.checkpoints import provenance
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages import advantages, export, loop, train
from apportion.pipeline.training.job import Job
from apportion.schemas import TABLES


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """Every second rollout of question 2 goes wrong, so that its groups can be compared."""
    made = ScriptedEngine(reply)
    monkeypatch.setattr("apportion.pipeline.engines.running.engine_for", lambda model, root: made)
    return made


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The trainer's place is taken by one that copies the weights and notes the job and its data."""
    seen: list[Job] = []

    def launch(job: Job, progress: Any = None) -> None:
        seen.append(job)
        shutil.copytree(job.model, job.out, dirs_exist_ok=True)
        (Path(job.out) / "model.safetensors").write_text("new")
        (Path(job.out) / "apportion.json").write_text(json.dumps(job.provenance))
        shutil.copy(job.data, Path(job.out) / "data.parquet")
        pl.DataFrame(
            {"trainer": [job.kind], "iteration": [0], "step": [0], "metric": ["loss"], "value": [0.5]},
            schema_overrides={"iteration": pl.Int32, "step": pl.Int32},
        ).write_parquet(job.log)

    monkeypatch.setattr("apportion.pipeline.stages.train.launch", launch)
    return seen


def mixed(folder: Path, engine: ScriptedEngine, **sections: dict[str, Any]) -> Config:
    """A run in which question 3 fails in one of two rollouts."""
    turn = {"n": 0}

    def sometimes(prompt: str) -> str:
        text = reply(prompt)
        if "I lead" in prompt and "3+2" in text:
            turn["n"] += 1
            return text if turn["n"] == 1 else text.replace("3+2", "3+1")
        return text

    engine.reply = sometimes
    shared: dict[str, dict[str, Any]] = {
        "sample": {"group_size": 2, "shard_size": 8, "solo": False}, "export": {"validation": 0.0},
    }  # fmt: skip
    config = configured(folder, **{**shared, **sections})
    sample_all(config)
    engine.reply = better
    return config


def test_grpo_trains_on_the_group_that_differs_and_on_the_samplers_tokens(
    tmp_path: Path, engine: ScriptedEngine, jobs: list[Job]
):
    config = mixed(tmp_path, engine)
    planned = train.plan(config, "r", "grpo")
    rows = planned.data.to_pylist()
    failed = {t["trajectory_id"] for t in read(config, "trajectories") if not t["success"]}
    assert len({r["group_id"] for r in rows}) == 1
    for row in rows:
        sign = -1 if row["trajectory_id"] in failed else 1
        trained = [a for a, mask in zip(row["advantages"], row["completion_mask"], strict=True) if mask]
        assert all(a * sign > 0 for a in trained)
    assert planned.made.flat > 0
    out = train.run(planned)
    assert jobs[0].kind == "grpo"
    assert pl.read_parquet(out / "data.parquet").height == len(rows)
    log = read(config, "training_log")
    assert [(r["trainer"], r["metric"], r["value"]) for r in log] == [("grpo", "loss", 0.5)]
    assert Store(config.store_root).verify("r") == []


def test_a_checkpoint_knows_its_parent_and_is_not_trained_twice(
    tmp_path: Path, engine: ScriptedEngine, jobs: list[Job]
):
    config = mixed(tmp_path, engine)
    out = train.run(train.plan(config, "r", "grpo"))
    again = train.plan(config, "r", "grpo")
    assert again.done
    assert train.run(again) == out
    assert len(jobs) == 1
    assert provenance(out)["version"] == 1
    assert provenance(out)["parent"] == again.told["parent"]
    new = {r["policy_id"]: r for r in read(config, "policies")}
    assert [r["parent"] for r in new.values() if r["version"] == 1] == [again.told["parent"]]
    other = config.model_copy(update={"train": config.train.model_copy(update={"learning_rate": 1e-4})})
    with pytest.raises(UserError, match="holds another training"):
        train.plan(other, "r", "grpo")
    train.run(train.plan(other, "r", "grpo", tmp_path / "second"))
    assert len(jobs) == 2
    assert Store(config.store_root).verify("r") == []


def test_a_training_killed_before_its_log_was_kept_is_recorded_and_not_repeated(
    tmp_path: Path, engine: ScriptedEngine, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
):
    config = mixed(tmp_path, engine)
    with monkeypatch.context() as broken:
        broken.setattr("apportion.pipeline.stages.train._record", lambda planned, log: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train.run(train.plan(config, "r", "grpo"))
    again = train.plan(config, "r", "grpo")
    assert again.trained
    assert not again.done
    train.run(again)
    assert len(jobs) == 1
    assert len(read(config, "training_log")) == 1


def test_a_folder_that_is_no_checkpoint_is_never_written_over(tmp_path: Path, engine: ScriptedEngine):
    config = mixed(tmp_path, engine)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="no checkpoint of ours"):
        train.plan(config, "r", "grpo", tmp_path / "mine")


def test_dpo_gets_confirmed_pairs_alone(tmp_path: Path, engine: ScriptedEngine, jobs: list[Job]):
    config = mixed(tmp_path, engine)
    with pytest.raises(train.NothingToLearnError, match="annotate its failures"):
        train.plan(config, "r", "dpo")
    fail(config)
    planned = train.plan(config, "r", "dpo")
    pairs = planned.data.to_pylist()
    assert pairs
    assert all(p["chosen_k"] == 4 and p["chosen_successes"] > p["rejected_successes"] for p in pairs)
    train.run(planned)
    assert jobs[0].kind == "dpo"


@pytest.mark.parametrize("kind", ["grpo", "dpo"])
def test_a_question_that_is_set_apart_is_not_trained_on(tmp_path: Path, engine: ScriptedEngine, kind: train.Kind):
    config = mixed(tmp_path, engine)
    fail(config)
    (group,) = {r["task_id"] for r in read(config, "trajectories") if r["origin"] == "sampled" and not r["success"]}
    (question,) = [t["question"] for t in read(config, "tasks") if t["task_id"] == group]

    def apart(*rows: str) -> Config:
        (tmp_path / "held.jsonl").write_text("\n".join(rows))
        section = config.export.model_copy(update={"evaluation": str(tmp_path / "held.jsonl")})
        return config.model_copy(update={"export": section})

    whole = train.plan(config, "r", kind).data.num_rows
    assert train.plan(apart(json.dumps({"question": "Who was it?"})), "r", kind).data.num_rows == whole
    with pytest.raises(train.NothingToLearnError, match=r"in export\.evaluation"):
        train.plan(apart(json.dumps({"question": question})), "r", kind)
    with pytest.raises(UserError, match=r"held\.jsonl:1: no question"):
        train.plan(apart(json.dumps({"task": question})), "r", kind)


def test_the_same_training_into_a_second_folder_leaves_its_policy_in_the_run(
    tmp_path: Path, engine: ScriptedEngine, jobs: list[Job]
):
    config = mixed(tmp_path, engine)
    train.run(train.plan(config, "r", "grpo", tmp_path / "one"))
    train.run(train.plan(config, "r", "grpo", tmp_path / "two"))
    assert len(jobs) == 2
    assert sorted(r["version"] for r in read(config, "policies")) == [0, 1]


def test_advantages_of_outcomes_need_no_model(tmp_path: Path, engine: ScriptedEngine):
    config = mixed(tmp_path, engine)
    gone = config.model_copy(update={"model": config.model.model_copy(update={"path": str(tmp_path / "gone")})})
    assert advantages.make(gone, "r").rows.num_rows == advantages.make(config, "r").rows.num_rows > 0


def test_nothing_to_compare_says_what_to_do(tmp_path: Path, engine: ScriptedEngine):
    config = configured(tmp_path, sample={"group_size": 2, "shard_size": 8, "solo": False})
    sample_all(config)
    with pytest.raises(train.NothingToLearnError, match="all right or all wrong"):
        train.plan(config, "r", "grpo")


def test_credit_within_a_group_asks_for_credit_on_all_rollouts(tmp_path: Path, engine: ScriptedEngine):
    config = mixed(tmp_path, engine, advantages={"method": "sharp"}, failures={"localizer": "none"})
    annotate_all(config)
    with pytest.raises(UserError, match=r"annotate\.on=all"):
        train.plan(config, "r", "grpo")
    everything = config.model_copy(update={"annotate": config.annotate.model_copy(update={"on": "all"})})
    annotate_all(everything)
    rows = train.plan(everything, "r", "grpo").data.to_pylist()
    assert {r["method"] for r in rows} == {"sharp"}
    assert {r["loss_weight"] for r in rows} == {1 / 3}


def test_the_export_holds_the_same_rows_for_every_reader(tmp_path: Path, engine: ScriptedEngine):
    config = mixed(tmp_path, engine)
    fail(config)
    manifest = export.run({"r": config}, tmp_path / "out")
    files = {f["path"]: f["rows"] for f in manifest["files"] if "rows" in f}
    assert len(read(config, "preferences")) == 2  # found by the localizer, and beside a winning sibling
    assert files["preference/train.parquet"] == train.plan(config, "r", "dpo").data.num_rows == 1
    assert files["grpo/train.parquet"] == train.plan(config, "r", "grpo").data.num_rows
    pair = pl.read_parquet(tmp_path / "out" / "preference" / "train.parquet").to_dicts()[0]
    assert pair["prompt"][-1]["role"] == "user"
    assert manifest["provenance"]["runs"] == ["r"]
    assert "load_dataset" in (tmp_path / "out" / "README.md").read_text()


def test_the_loop_goes_round_the_tasks_and_annotates_what_its_method_needs(tmp_path: Path):
    sections: dict[str, dict[str, Any]] = {"loop": {"iterations": 3, "tasks": 2}}
    rounds = loop.plan(configured(tmp_path, **sections))
    assert [r.config.run.name for r in rounds] == ["r-0", "r-1", "r-2"]
    assert [(r.config.tasks.offset, r.config.tasks.limit) for r in rounds] == [(0, 2), (2, 2), (1, 2)]
    assert len({r.config.run.seed for r in rounds}) == 3
    assert {(r.config.annotate.on, r.config.failures.localizer) for r in rounds} == {("none", "none")}
    assert rounds[1].by("there").config.model.path == "there"
    sharp = loop.plan(configured(tmp_path, advantages={"method": "sharp"}, **sections))
    assert (sharp[0].config.annotate.on, sharp[0].config.failures.localizer) == ("all", "none")
    sections["loop"]["trainer"] = "dpo"
    dpo = loop.plan(configured(tmp_path, **sections))
    assert (dpo[0].config.annotate.on, dpo[0].config.failures.localizer) == ("none", "monte_carlo")


def test_a_loop_without_a_name_or_with_too_few_tasks_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"run\.name"):
        loop.plan(configured(tmp_path, run={"name": "", "data": str(tmp_path)}))
    with pytest.raises(UserError, match="only 4 tasks"):
        loop.plan(configured(tmp_path, loop={"tasks": 9}))


def test_two_trainings_into_one_folder_never_lose_one(tmp_path: Path, engine: ScriptedEngine, jobs: list[Job]):
    config = mixed(tmp_path, engine)
    other = config.model_copy(update={"train": config.train.model_copy(update={"learning_rate": 1e-4})})
    first, second = (train.plan(one, "r", "grpo", tmp_path / "same") for one in (config, other))
    train.run(first)
    with pytest.raises(UserError, match="same: holds another training"):
        train.run(second)
    assert provenance(tmp_path / "same", "job")["job"] == first.job
    assert len(jobs) == 1
    with hold(tmp_path / "free"), pytest.raises(UserError, match=rf"free: process {os.getpid()} is writing there"):
        train.run(train.plan(other, "r", "grpo", tmp_path / "free"))
    assert len(jobs) == 1
    train.run(train.plan(other, "r", "grpo", tmp_path / "free"))
    assert not list(tmp_path.glob(".*.lock"))


def test_a_folder_that_was_filled_after_the_plan_is_not_trained_into(
    tmp_path: Path, engine: ScriptedEngine, jobs: list[Job]
):
    planned = train.plan(mixed(tmp_path, engine), "r", "grpo", tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("x")
    with pytest.raises(UserError, match="no checkpoint of ours"):
        train.run(planned)
    assert not jobs


def test_a_training_that_failed_leaves_no_policy_and_one_that_was_kept_beside_its_place_is_taken_from_there(
    tmp_path: Path, engine: ScriptedEngine, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
):
    from apportion.pipeline.stages.train import launch as fake

    config = mixed(tmp_path, engine)

    def crowded(job: Job, progress: Any = None) -> None:
        fake(job, progress)
        Path(job.out).rename(tmp_path / "out-2")
        raise UserError("out: notes.txt appeared there")

    with monkeypatch.context() as patched:
        patched.setattr("apportion.pipeline.stages.train.launch", crowded)
        with pytest.raises(UserError, match="appeared there"):
            train.run(train.plan(config, "r", "grpo", tmp_path / "out"))
    assert [r["version"] for r in read(config, "policies")] == [0]
    train.run(train.plan(config, "r", "grpo", tmp_path / "out-2"))
    assert len(jobs) == 1
    assert sorted(r["version"] for r in read(config, "policies")) == [0, 1]


def test_rows_that_no_trainer_could_use_are_refused_before_one_starts(tmp_path: Path, engine: ScriptedEngine):
    config = mixed(tmp_path, engine)
    task, policy = read(config, "tasks")[0]["task_id"], read(config, "policies")[0]["policy_id"]
    pair = {
        "pair_id": "x", "kind": "first_error", "task_id": task, "agent": "boss", "policy_id": policy, "weight": 1.0,
        "prompt": [{"role": "user", "content": "q"}], "chosen": [{"role": "assistant", "content": "a"}],
        "rejected": [{"role": "assistant", "content": "b"}], "chosen_k": 4, "chosen_successes": 4, "rejected_k": 4,
        "rejected_successes": 0,
    }  # fmt: skip
    Store(config.store_root).write_shard("preferences", "r", "0", TABLES["preferences"].from_rows([pair]), "f")
    with pytest.raises(UserError, match="none of its 1 rows can be trained on; refused: 1 without token ids"):
        train.plan(config, "r", "dpo")


def test_the_line_on_how_to_read_an_export_names_a_data_set_that_is_there(
    tmp_path: Path, engine: ScriptedEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    config = mixed(tmp_path, engine, failures={"localizer": "none"})
    annotate_all(config)
    monkeypatch.setattr(sys, "argv", ["apportion", "export", str(tmp_path / "out"), "--run", "r", "--set",
                                      f"run.data={config.run.data}"])  # fmt: skip
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert sorted(one.name for one in (tmp_path / "out").iterdir() if one.is_dir()) == ["grpo"]
    assert f'datasets.load_dataset("{tmp_path / "out"}", "grpo")' in capsys.readouterr().err
