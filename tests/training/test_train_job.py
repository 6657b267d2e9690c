from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pyarrow.parquet as pq
import pytest
import torch
from tiny_model import logps_of

from apportion.pipeline.core.config import TrainConfig
from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.training.job import Job, launch
from apportion.schemas import TABLES

SETTINGS = {"learning_rate": 1e-3, "batch_size": 4, "micro_batch_size": 2, "beta": 0.1}


def _job(tmp_path: Path, checkpoint: Path, frame: pl.DataFrame, **changes: Any) -> Job:
    frame.write_parquet(tmp_path / "rows.parquet")
    values: dict[str, Any] = {
        "kind": "grpo",
        "model": str(checkpoint),
        "data": str(tmp_path / "rows.parquet"),
        "out": str(tmp_path / "policies" / "1"),
        "log": str(tmp_path / "log.parquet"),
        "seed": 4,
        "iteration": 3,
        "settings": SETTINGS,
        "provenance": {"run": "r1"},
    }
    return Job(**(values | changes))


def _log(job: Job) -> dict[tuple[int, str], float]:
    table = pq.read_table(job.log)
    assert TABLES["training_log"].conform(table).num_rows == table.num_rows
    rows = table.to_pylist()
    assert {(row["trainer"], row["iteration"]) for row in rows} == {(job.kind, job.iteration)}
    return {(row["step"], row["metric"]): row["value"] for row in rows}


def _load(folder: str | Path) -> Any:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert AutoTokenizer.from_pretrained(folder).chat_template
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto")


def test_a_job_is_the_same_after_its_file() -> None:
    job = Job("dpo", "m", "d", "o", "l", settings={"beta": 0.1}, provenance={"ü": [1]})
    assert Job.from_json(job.to_json()) == job


def test_one_process_and_two_learn_the_same(tmp_path: Path, checkpoint: Path, sequences: pl.DataFrame) -> None:
    """End to end: a checkpoint that loads, the log, the refused rows, the progress; two processes agree with one."""
    frame = pl.concat([sequences, sequences[:1].with_columns(temperature=0.0)])
    job, seen = _job(tmp_path, checkpoint, frame), []
    launch(job, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    log = _log(job)
    assert log[0, "rows_refused_sampled_greedily_or_at_unknown_temperature"] == log[0, "rows_refused"] == 1
    assert {"loss", "kl", "entropy", "sampler_gap_mean", "grad_norm", "learning_rate"} <= {name for _, name in log}
    assert json.loads((Path(job.out) / "apportion.json").read_text()) == {"run": "r1"}
    assert (Path(job.out) / "tokenizer.json").read_bytes() == (checkpoint / "tokenizer.json").read_bytes()
    assert [p.name for p in Path(job.out).parent.iterdir()] == ["1"]
    one, start = _load(job.out), _load(checkpoint)
    assert one.dtype == torch.float32
    moved = (one.lm_head.weight - start.lm_head.weight).abs().max()
    assert 1e-4 < moved < 1e-2

    two = _job(tmp_path, checkpoint, frame, out=str(tmp_path / "two"), log=str(tmp_path / "two.parquet"))
    launch(Job(**{**vars(two), "settings": {**SETTINGS, "processes": 2}}))
    for name in ("loss", "grad_norm", "kl", "sampler_gap_mean", "sampler_gap_max"):
        assert _log(two)[0, name] == pytest.approx(log[0, name], rel=1e-4, abs=1e-6)
    difference = max(
        float((a - b).detach().abs().max()) for a, b in zip(one.parameters(), _load(two.out).parameters(), strict=True)
    )
    assert difference < 0.1 * moved


@pytest.mark.parametrize("kind", ["grpo", "dpo"])
def test_lora_is_merged_into_a_plain_checkpoint_in_place_of_an_older_one(
    tmp_path: Path,
    checkpoint: Path,
    sequences: pl.DataFrame,
    pairs: pl.DataFrame,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from peft import PeftModel

    from apportion.pipeline.training import worker

    monkeypatch.setitem(sys.modules, "vllm", sys.modules.get("vllm"))
    frame = sequences if kind == "grpo" else pairs
    settings = {**SETTINGS, "lora_rank": 4, "learning_rate": 1e-2}
    job = _job(tmp_path, checkpoint, frame, kind=kind, settings=settings)
    (Path(job.out) / "older").mkdir(parents=True)
    worker.run(job)
    assert not (Path(job.out) / "older").exists()
    merged, start = _load(job.out), _load(checkpoint)
    assert torch.equal(merged.lm_head.weight, start.lm_head.weight)
    adapted = PeftModel.from_pretrained(start, Path(job.out) / "adapter")
    prompt, completion = [5, 6, 7], [8, 9, 10]
    found = logps_of(merged, prompt, completion, 1.0)
    torch.testing.assert_close(found, logps_of(adapted, prompt, completion, 1.0))
    with adapted.disable_adapter():
        assert (found - logps_of(adapted, prompt, completion, 1.0)).abs().max() > 1e-3


def test_what_goes_wrong_in_the_trainer_is_said_here(
    tmp_path: Path, checkpoint: Path, sequences: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apportion.pipeline.training import worker

    with pytest.raises(UserError, match=r"refused: 5 sampled greedily or at unknown temperature$"):
        launch(_job(tmp_path, checkpoint, sequences.with_columns(temperature=0.0)))
    monkeypatch.setattr("apportion.pipeline.training.job._WORKER", "apportion.pipeline.training.nothing")
    with pytest.raises(WorkError, match=r"ended with code 1: .*No module named apportion.pipeline.training.nothing"):
        launch(_job(tmp_path, checkpoint, sequences))
    with pytest.raises(UserError, match="not a checkpoint folder"):
        worker.run(_job(tmp_path, tmp_path / "nowhere", sequences))
    with pytest.raises(WorkError, match=r"loss is nan at step 1; lower train\.learning_rate"):
        worker.refuse_divergence({(0, "loss"): 1.0, (1, "loss"): math.nan})


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux binds a child to its parent")
def test_no_trainer_outlives_a_killed_parent(tmp_path: Path, checkpoint: Path, sequences: pl.DataFrame) -> None:
    job = _job(tmp_path, checkpoint, sequences)
    script = f"from apportion.pipeline.training.job import *; launch(Job.from_json({job.to_json()!r}))"
    parent = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 300
    while not (children := psutil.Process(parent.pid).children()) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert children
    assert not alive
    assert not Path(job.out).exists()


class Unbounded(TrainConfig):
    """The settings as an older or a foreign configuration holds them: taken as they are."""

    @classmethod
    def model_validate(cls, obj: Any, **_: Any) -> TrainConfig:
        return TrainConfig.model_construct(**obj)


@pytest.mark.parametrize("lora_rank", [0, 4])
@pytest.mark.parametrize("kind", ["grpo", "dpo"])
def test_a_ruined_checkpoint_is_not_written(
    tmp_path: Path,
    checkpoint: Path,
    sequences: pl.DataFrame,
    pairs: pl.DataFrame,
    kind: str,
    lora_rank: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One step at an endless learning rate: the loss and the gradient of that step are still finite."""
    from apportion.pipeline.training import worker

    monkeypatch.setitem(sys.modules, "vllm", sys.modules.get("vllm"))
    monkeypatch.setattr(worker, "TrainConfig", Unbounded)
    settings = {"learning_rate": math.inf, "batch_size": 8, "micro_batch_size": 8, "lora_rank": lora_rank}
    job = _job(tmp_path, checkpoint, sequences if kind == "grpo" else pairs, kind=kind, settings=settings)
    told = r"its weights are ruined: [\d,]+ of [\d,]+ are not finite, first in [\w.]+; .*train\.learning_rate = inf"
    with pytest.raises(WorkError, match=told):
        worker.run(job)
    assert list((tmp_path / "policies").glob("*")) == []
    assert (0, "loss") in _log(job)


def test_adapters_that_ruin_the_weights_only_when_they_are_merged_are_refused_too(
    tmp_path: Path, checkpoint: Path, sequences: pl.DataFrame
) -> None:
    from apportion.pipeline.training import worker

    policy = worker.load_policy(str(checkpoint), 4)
    with torch.no_grad():
        for name, weights in policy.model.named_parameters():
            if "lora_" in name:
                weights.fill_(1e30)
    assert worker.not_finite(policy.model) == ""
    job = _job(tmp_path, checkpoint, sequences)
    with pytest.raises(WorkError, match=r"are ruined: [\d,]+ of [\d,]+ are not finite, first in model\.layers\.0"):
        worker._save(policy, job, TrainConfig())
    assert list(Path(job.out).parent.iterdir()) == []


def test_a_start_that_is_ruined_already_is_said_before_any_step(
    tmp_path: Path, tiny: Any, tokenizer: Any, sequences: pl.DataFrame
) -> None:
    from apportion.pipeline.training import worker

    model = tiny()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[2, :3] = math.nan
    model.save_pretrained(tmp_path / "start")
    tokenizer.save_pretrained(tmp_path / "start")
    with pytest.raises(UserError, match=r"start is ruined, 3 of .* first in model\.layers\.1\.mlp\.up_proj\.weight"):
        worker.run(_job(tmp_path, tmp_path / "start", sequences))


def test_what_appears_in_the_folder_during_the_training_stays_and_the_checkpoint_is_kept_beside_it(
    tmp_path: Path, checkpoint: Path, sequences: pl.DataFrame
) -> None:
    from apportion.pipeline.training import worker

    policy, job = worker.load_policy(str(checkpoint), 0), _job(tmp_path, checkpoint, sequences)
    out = Path(job.out)
    out.mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt appeared there .* the new checkpoint is \S+1-2: give"):
        worker._save(policy, job, TrainConfig())
    assert (out / "notes.txt").read_text() == "mine"
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    assert torch.equal(_load(out.with_name("1-2")).lm_head.weight, policy.model.lm_head.weight)
    assert sorted(path.name for path in out.parent.iterdir()) == ["1", "1-2"]


def test_a_checkpoint_of_the_very_same_job_is_left_as_it_is(
    tmp_path: Path, checkpoint: Path, sequences: pl.DataFrame
) -> None:
    from apportion.pipeline.training import worker

    job = _job(tmp_path, checkpoint, sequences, provenance={"job": "j1"})
    worker._save(worker.load_policy(str(checkpoint), 0), job, TrainConfig())
    (Path(job.out) / "notes.txt").write_text("mine")
    worker._save(worker.load_policy(str(checkpoint), 0), job, TrainConfig())
    assert (Path(job.out) / "notes.txt").read_text() == "mine"
    other = _job(tmp_path, checkpoint, sequences, provenance={"job": "j2"})
    with pytest.raises(UserError, match="appeared there"):
        worker._save(worker.load_policy(str(checkpoint), 0), other, TrainConfig())
    told = [json.loads((tmp_path / "policies" / name / "apportion.json").read_text()) for name in ("1", "1-2")]
    assert told == [{"job": "j1"}, {"job": "j2"}]
