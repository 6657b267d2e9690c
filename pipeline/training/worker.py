"""The trainer's own process: python -m apportion.pipeline.training.worker JOB.json"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from apportion.pipeline.core.config import TrainConfig
from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.core.files import commit
from apportion.pipeline.core.libraries import hush
from apportion.pipeline.core.places import listed, put, put_beside
from apportion.pipeline.core.subprocesses import end_with_parent
from apportion.pipeline.engines.checkpoints import PROVENANCE, provenance
from apportion.pipeline.training.job import Job
from apportion.pipeline.training.rows import refuse_pairs, refuse_sequences

if TYPE_CHECKING:
    from apportion.pipeline.training.common import Policy

_TOKENIZER_FILES = (
    "tokenizer*",
    "chat_template*",
    "*.jinja",
    "*.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
)


def main(file: str) -> int:
    """Run the job in `file`; the exit code. Complaints go to standard output as a line of JSON."""
    end_with_parent()
    job = Job.from_json(Path(file).read_text(encoding="utf-8"))
    hush(Path(job.out).parent)
    try:
        run(job)
    except UserError as error:
        return _complain(str(error), user=True)
    except WorkError as error:
        return _complain(str(error), user=False)
    except Exception as error:  # the process ends here, and the one that waits for it has to hear why
        traceback.print_exc()
        first = (str(error).strip().splitlines() or [""])[0]
        return _complain(f"train: {type(error).__name__}: {first}", user=False)
    return 0


def _complain(message: str, *, user: bool) -> int:
    print(json.dumps({"error": message, "user": user}), flush=True)
    return 2 if user else 1


def run(job: Job) -> None:
    """Train, then write the log and last the checkpoint. Raises UserError for bad input, WorkError if it diverged."""
    settings = TrainConfig.model_validate(job.settings)
    if not (Path(job.model) / "config.json").is_file():
        raise UserError(f"train: {job.model!r} is not a checkpoint folder: it has no config.json")
    rows, refused = (refuse_sequences if job.kind == "grpo" else refuse_pairs)(pl.read_parquet(job.data))
    if rows.is_empty():
        raise UserError(f"train: no row of {job.data} can be trained on; refused: {refused}")
    sys.modules["vllm"] = None  # type: ignore[assignment]  # TRL would import it, for seconds and without need
    from accelerate import PartialState
    from transformers import set_seed

    from apportion.pipeline.training.common import Recorder

    set_seed(job.seed)
    policy = load_policy(job.model, settings.lora_rank)
    if bad := not_finite(policy.model):
        raise UserError(f"train: the checkpoint {job.model} is ruined, {bad}: start from another one")
    recorder = Recorder(speak=True)
    with tempfile.TemporaryDirectory(prefix="apportion-trainer-") as folder:
        if job.kind == "grpo":
            from apportion.pipeline.training.grpo import train_grpo

            train_grpo(policy, rows, settings, seed=job.seed, folder=folder, recorder=recorder)
        else:
            from apportion.pipeline.training.dpo import train_dpo

            train_dpo(policy, rows, settings, seed=job.seed, folder=folder, recorder=recorder, margin=job.margin)
    recorder.metrics[0, "rows_refused"] = float(refused.total)
    recorder.metrics.update({(0, f"rows_refused_{why}"): float(count) for why, count in refused.counts.items()})
    state = PartialState()
    if state.is_main_process:
        _write_log(job, recorder.metrics)
        refuse_divergence(recorder.metrics)
        refuse_ruin(policy.model, settings)
        _save(policy, job, settings)
    state.wait_for_everyone()


def load_policy(model: str, lora_rank: int) -> Policy:
    """The checkpoint in float32, where small updates do not vanish; `lora_rank` puts adapters on all linear layers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    from apportion.pipeline.training.common import Policy
    from apportion.pipeline.training.rounding import to_train_from
    from apportion.pipeline.training.shared_prefix import pair_price

    disable_progress_bar()
    net = AutoModelForCausalLM.from_pretrained(to_train_from(Path(model)), dtype=torch.float32, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    if lora_rank:
        from peft import LoraConfig, get_peft_model

        net = get_peft_model(net, LoraConfig(r=lora_rank, lora_alpha=2 * lora_rank, target_modules="all-linear"))
    return Policy(net, tokenizer, pair_price(net))


def _write_log(job: Job, metrics: dict[tuple[int, str], float]) -> None:
    import pyarrow.parquet as pq

    from apportion.schemas import TABLES

    rows = [
        {"trainer": job.kind, "iteration": job.iteration, "step": step, "metric": metric, "value": value}
        for (step, metric), value in sorted(metrics.items())
    ]
    table = TABLES["training_log"].from_rows(rows).drop_columns("job")  # whoever asked for the job knows its name
    commit(Path(job.log), lambda file: pq.write_table(table, file, compression="zstd"))


def refuse_divergence(metrics: dict[tuple[int, str], float]) -> None:
    """Raises WorkError where the loss or the gradient of a step is not finite."""
    for (step, metric), value in sorted(metrics.items()):
        if metric in ("loss", "grad_norm") and not math.isfinite(value):
            raise WorkError(f"train: {metric} is {value} at step {step}; lower train.learning_rate")


def refuse_ruin(net: Any, settings: TrainConfig) -> None:
    """Raises WorkError where a weight is not finite: such a checkpoint is not written."""
    if bad := not_finite(net):
        raise WorkError(
            f"train: no checkpoint is written, for its weights are ruined: {bad}; they left what float32 holds, most "
            f"likely by train.learning_rate = {settings.learning_rate:g}: lower it"
        )


def not_finite(net: Any) -> str:
    """How many weights (adapters and buffers too) are not finite, and the first tensor that has one; or nothing."""
    first, bad, total = "", 0, 0
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        total += tensor.numel()
        if tensor.is_floating_point() and (wrong := int((~tensor.isfinite()).sum())):
            first, bad = first or name, bad + wrong
    return f"{bad:,} of {total:,} are not finite, first in {first}" if bad else ""


def _save(policy: Policy, job: Job, settings: TrainConfig) -> None:
    """A plain checkpoint, of the dtype that training started from, with the tokenizer's files as they were.

    Adapters are merged and kept beside it.
    It is written under another name and renamed, so that a folder called `out` is always whole. What stands at `out`
    by now is never touched: a checkpoint of this very job makes this one needless; beside anything else this one gets
    a name of its own, and UserError says which.
    """
    from peft import PeftModel

    from apportion.pipeline.training.rounding import dtype_of, save

    target = Path(job.out).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    for stale in target.parent.glob(f".{target.name}.checkpoint.*.tmp"):
        shutil.rmtree(stale)
    part = target.with_name(f".{target.name}.checkpoint.{os.getpid()}.tmp")
    try:
        net = policy.model
        if isinstance(net, PeftModel):
            net.save_pretrained(str(part / "adapter"))
            net = net.merge_and_unload()
            refuse_ruin(net, settings)
        save(net, part, dtype_of(Path(job.model)), str(job.provenance.get("job", job.seed)))
        refuse_ruin(net, settings)
        for file in sorted({file for pattern in _TOKENIZER_FILES for file in Path(job.model).glob(pattern)}):
            shutil.copy2(file, part / file.name)
        told = json.dumps(job.provenance, indent=2, ensure_ascii=False, sort_keys=True)
        (part / PROVENANCE).write_text(told + "\n", encoding="utf-8")
        _place(part, target, job)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _place(part: Path, target: Path, job: Job) -> None:
    """Give the finished checkpoint its name."""
    mine = job.provenance.get("job")
    if put(part, target) or (mine and provenance(target, "job").get("job") == mine):
        return
    kept = put_beside(part, target)
    raise UserError(
        f"{target}: {listed(target)} appeared there during the training, and is left alone; the new checkpoint is "
        f"{kept}: give the same command with --out {kept} to keep it there"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
