"""DPO from a table of preference pairs, on the stored token ids."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import PrinterCallback, Trainer, TrainingArguments

from apportion.pipeline.core.config import TrainConfig
from apportion.pipeline.training.common import Policy, Recorder, WarmUp, arguments, fixed_logps, number_of_processes
from apportion.pipeline.training.rows import Schedule, schedule
from apportion.pipeline.training.shared_prefix import completion_logps

_METRICS = (
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
)


@dataclass(frozen=True)
class PairTable:
    """The pairs, the order in which they are computed, and the reference's (chosen, rejected) log-probabilities."""

    rows: pl.DataFrame
    plan: Schedule
    references: dict[int, tuple[float, float]] = field(default_factory=dict)

    def sides(self, row: int) -> list[tuple[list[int], list[int], list[bool]]]:
        """(prompt, completion, wanted) of the chosen and of the rejected side."""
        values = self.rows.row(row, named=True)
        sides = (values["chosen_ids"], values["rejected_ids"])
        return [(values["prompt_ids"], side, [True] * len(side)) for side in sides]

    def total_weight(self, step: int) -> float:
        """Sum of the weights of one optimizer batch."""
        return float(self.rows[self.plan.step_rows(step)]["weight"].sum())


class TableDPO(WarmUp, Trainer):  # type: ignore[misc]
    """Weighted DPO on `preferences`.

    With s_c and s_r the summed log-probabilities of the chosen and of the rejected side, the pair's weight w and
    margin m, and the reference's sums written with a bar,

        l = -logsigmoid(dpo_beta ((s_c - s̄_c) - (s_r - s̄_r)) - m),      L = sum w l / sum w

    over the optimizer batch, whatever its micro batches. Both sides are computed in one tree, their prompt once.
    DPO: 2305.18290. Margin: the offset of ODPO, 2402.10571, whose size as the rise of the success share is ours;
    0 unless asked for. Status: source, but for the weighted mean, which is ours. The reference is the weights
    that training starts from, computed once before the first step.

    Metrics: `rewards/chosen`, `rewards/rejected` (dpo_beta times log pi / reference), `rewards/margins`,
    `rewards/accuracies`, `logps/chosen`, `logps/rejected`; weighted means over the optimizer batch.
    """

    def __init__(
        self,
        policy: Policy,
        table: PairTable,
        args: TrainingArguments,
        recorder: Recorder,
        settings: TrainConfig,
        *,
        margin: bool,
    ) -> None:
        super().__init__(
            model=policy.model,
            args=args,
            train_dataset=list(range(len(table.plan.slots))),
            data_collator=lambda slots: {"slots": torch.tensor(slots)},
            callbacks=[recorder],
        )
        self.remove_callback(PrinterCallback)
        self.warmup_share = settings.warmup
        self.table = table
        self._price = policy.price
        self._beta = settings.dpo_beta
        self._margin = margin
        self._sums = torch.zeros(len(_METRICS))

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """This micro batch's part of the weighted mean over the optimizer batch."""
        plan = self.table.plan
        slots = inputs["slots"].tolist()
        pairs = [plan.slots[slot] for slot in slots if plan.slots[slot] >= 0]
        sides = [side for pair in pairs for side in self.table.sides(pair)]
        prompts, completions, wanted = zip(*sides, strict=True) if sides else ((), (), ())
        logps = completion_logps(model, prompts, completions, wanted, price=self._price).logps.sum(1).reshape(-1, 2)
        reference = logps.new_tensor([self.table.references[pair] for pair in pairs]).reshape(-1, 2)
        weights = logps.new_tensor(self.table.rows[pairs]["weight"].to_list())
        # `Trainer` divides by the number of micro batches, and averages over processes.
        share = weights * plan.accumulation * plan.processes / self.table.total_weight(slots[0] // plan.slots_per_step)
        rewards = self._beta * (logps - reference)
        lead = rewards[:, 0] - rewards[:, 1]
        margin = logps.new_tensor(self.table.rows[pairs]["margin"].fill_null(0.0).to_list()) if self._margin else 0.0
        noted = torch.cat([rewards, lead[:, None], (lead > 0)[:, None], logps], dim=1).detach()
        self._sums = self._sums.to(noted.device) + share @ noted / plan.accumulation
        return (-logsigmoid(lead - margin) * share).sum()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the metrics of the optimizer batch to the step's own."""
        if "loss" in logs:
            means = self.accelerator.reduce(self._sums, reduction="mean").tolist()
            logs.update(dict(zip(_METRICS, means, strict=True)))
            self._sums = torch.zeros_like(self._sums)
        super().log(logs, start_time)


def train_dpo(
    policy: Policy,
    rows: pl.DataFrame,
    settings: TrainConfig,
    *,
    seed: int,
    folder: str,
    recorder: Recorder,
    margin: bool = False,
) -> None:
    """Train `policy.model` in place on the `preferences` that `refuse_pairs` left; metrics go to `recorder`.

    `margin` asks the chosen side to lead by the pair's margin (a missing one counts as 0). Raises UserError for
    no pair.
    """
    processes = number_of_processes()
    plan = schedule(
        rows.height,
        lambda row: [*rows["prompt_ids"][row], *rows["chosen_ids"][row]],
        settings,
        processes=processes,
        seed=seed,
    )
    args = TrainingArguments(**arguments(settings, plan, seed, folder), train_sampling_strategy="sequential")
    table = PairTable(rows, plan)
    trainer = TableDPO(policy, table, args, recorder, settings, margin=margin)
    mine = plan.rows_of(trainer.accelerator.process_index)
    sums = [float(x.sum()) for x in fixed_logps(trainer, policy.price, [s for p in mine for s in table.sides(p)], 1.0)]
    table.references.update(zip(mine, zip(sums[::2], sums[1::2], strict=True), strict=True))
    trainer.train()
