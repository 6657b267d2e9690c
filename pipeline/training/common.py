"""What both trainers share: arguments, the learning rate, the log, and log-probabilities without gradients."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback

from apportion.pipeline.core.config import TrainConfig
from apportion.pipeline.training.rows import Schedule
from apportion.pipeline.training.shared_prefix import completion_logps

_NOT_METRICS = ("epoch", "total_flos")


@dataclass(frozen=True)
class Policy:
    """A model with its tokenizer, ready to train; `price` as of `shared_prefix.pair_price`."""

    model: Any
    tokenizer: Any
    price: int


def arguments(settings: TrainConfig, plan: Schedule, seed: int, folder: str) -> dict[str, Any]:
    """Arguments for a `transformers` trainer that visits every slot of `plan` once, quietly and repeatably.

    Weights and gradients are float32; on a GPU that computes in bfloat16 the forward pass runs under autocast.
    `folder` is where a trainer would write: nothing is.
    """
    cpu = not torch.cuda.is_available()
    return {
        "output_dir": folder,
        "seed": seed,
        "data_seed": seed,
        "learning_rate": settings.learning_rate,
        "max_grad_norm": settings.max_grad_norm,
        "num_train_epochs": 1,
        "per_device_train_batch_size": plan.micro_batch,
        "gradient_accumulation_steps": plan.accumulation,
        "weight_decay": 0.0,
        "use_cpu": cpu,
        "bf16": not cpu and torch.cuda.is_bf16_supported(),
        "gradient_checkpointing": False,
        "ddp_backend": "gloo" if cpu and plan.processes > 1 else None,
        "ddp_find_unused_parameters": False,
        "ddp_broadcast_buffers": False,
        "dataloader_pin_memory": not cpu,
        "remove_unused_columns": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "disable_tqdm": True,
    }


def warmed_up(step: int, steps: int, share: float) -> float:
    """Factor of the learning rate at `step` (from 0): rises in equal parts over the first `share` of the steps.

    The first step is not spent at a rate of zero, as it would be with the schedules of `transformers`.
    """
    return min(1.0, (step + 1) / max(1, round(steps * share)))


class WarmUp:
    """Mixin of a `transformers` trainer: a linear rise, then a constant learning rate."""

    warmup_share: float = 0.0
    optimizer: Any
    lr_scheduler: Any

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """The schedule of `warmed_up` over all optimizer steps."""
        chosen = self.optimizer if optimizer is None else optimizer
        self.lr_scheduler = LambdaLR(chosen, lambda step: warmed_up(step, num_training_steps, self.warmup_share))
        return self.lr_scheduler


@dataclass
class Recorder(TrainerCallback):  # type: ignore[misc]
    """Keeps every metric of every optimizer step (from 0), and says on standard output how far it is."""

    metrics: dict[tuple[int, str], float] = field(default_factory=dict)
    speak: bool = False

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Called by the trainer after each optimizer step and once at the end."""
        for name, value in (logs or {}).items():
            if isinstance(value, int | float) and name not in _NOT_METRICS:
                self.metrics[max(state.global_step - 1, 0), name] = float(value)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer after each optimizer step."""
        if self.speak and state.is_world_process_zero:
            print(json.dumps({"step": state.global_step, "of": state.max_steps}), flush=True)


def number_of_processes() -> int:
    """How many trainer processes the launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def fixed_logps(
    trainer: Any, price: int, rows: Sequence[tuple[Sequence[int], Sequence[int], Sequence[bool]]], temperature: float
) -> list[Tensor]:
    """Log-probabilities under the weights as they are, without gradient: (T_row,) for each row, 0 where not wanted.

    A row is (prompt, completion, wanted). Rows are computed in batches of the trainer's size, neighbours together.
    """
    size = trainer.args.per_device_train_batch_size
    order = sorted(range(len(rows)), key=lambda row: [*rows[row][0], *rows[row][1]])
    result: dict[int, Tensor] = {}
    for start in range(0, len(order), size):
        part = order[start : start + size]
        prompts, completions, wanted = zip(*(rows[row] for row in part), strict=True)
        with torch.no_grad(), trainer.compute_loss_context_manager():
            scores = completion_logps(trainer.model, prompts, completions, wanted, temperature=temperature, price=price)
        result.update({row: values[: len(rows[row][1])] for row, values in zip(part, scores.logps.cpu(), strict=True)})
    return [result[row] for row in range(len(rows))]
