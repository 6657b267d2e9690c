"""GRPO from a table of token sequences: TRL's loss, fed with stored tokens, log-probabilities and advantages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from apportion.pipeline.core.config import TrainConfig
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.training.common import Policy, Recorder, WarmUp, arguments, fixed_logps, number_of_processes
from apportion.pipeline.training.rows import Schedule, schedule
from apportion.pipeline.training.shared_prefix import completion_logps

_INTEGERS = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "tool_mask", "wanted")
_NUMBERS = ("advantages", "old_per_token_logps", "sampler_logps")
_REFERENCE = ("ref_per_token_logps",)


@dataclass(frozen=True)
class SequenceTable:
    """The rows, the order in which they are computed, and what the loss needs to know of each optimizer batch.

    references: log-probabilities (T_row,) of the reference policy by row; empty without a KL.
    starts: those of the trainer's own weights before the first step; empty where the sampler's are taken for them.
    """

    rows: pl.DataFrame
    plan: Schedule
    settings: TrainConfig
    references: dict[int, Tensor] = field(default_factory=dict)
    starts: dict[int, Tensor] = field(default_factory=dict)

    def tokens(self, row: int) -> tuple[list[int], list[int], list[bool]]:
        """(prompt, completion, which completion tokens are trained) of a row."""
        values = self.rows.row(row, named=True)
        return values["prompt_ids"], values["completion_ids"], values["completion_mask"]

    def has_signal(self, row: int) -> bool:
        """Whether a trained token of the row has an advantage."""
        values = self.rows.row(row, named=True)
        return any(a for a, on in zip(values["advantages"], values["completion_mask"], strict=True) if on)

    def batch(self, slots: list[int]) -> dict[str, Tensor]:
        """What TRL's loss reads, for one micro batch. Prompts are padded left, all else right, (B, T)."""
        step = slots[0] // self.plan.slots_per_step
        parts = [self._row(self.plan.slots[slot]) for slot in slots]
        batch = {
            name: pad_sequence(
                [part[name] for part in parts],
                batch_first=True,
                padding_side="left" if name.startswith("prompt") else "right",
            )
            for name in parts[0]
        }
        trained = self.rows[self.plan.step_rows(step)]["completion_mask"].list.sum().sum()
        batch["num_items_in_batch"] = torch.tensor(trained / self.plan.accumulation)
        batch["padding_scale"] = torch.tensor(self._padding_scale(step))
        return batch

    def _padding_scale(self, step: int) -> float:
        """Undoes that TRL counts padding rows, or micro batches of nothing else, in its averages."""
        micro_batches = self.plan.micro_batches(step)
        if self.settings.loss in ("grpo", "dr_grpo"):
            return self.plan.slots_per_step / sum(map(len, micro_batches))
        if self.settings.loss == "bnpo":
            return len(micro_batches) / sum(1 for micro_batch in micro_batches if micro_batch)
        return 1.0

    def _row(self, row: int) -> dict[str, Tensor]:
        """One row's tensors; those of padding hold one masked token."""
        if row < 0:
            nothing = dict.fromkeys(_INTEGERS, torch.zeros(1, dtype=torch.long))
            return nothing | dict.fromkeys((*_NUMBERS, *(_REFERENCE if self.settings.beta else ())), torch.zeros(1))
        values = self.rows.row(row, named=True)
        prompt, completion = torch.tensor(values["prompt_ids"]), torch.tensor(values["completion_ids"])
        trained = torch.tensor(values["completion_mask"])
        # What is not trained may hold anything in the table.
        advantages = torch.tensor([a if on else 0.0 for a, on in zip(values["advantages"], trained, strict=True)])
        sampler = torch.tensor([o if on else 0.0 for o, on in zip(values["old_logprobs"], trained, strict=True)])
        wanted = trained & bool(self.settings.beta or advantages.any())
        old = self.starts.get(row, sampler)
        weights = (old - sampler).exp().clamp(max=self.settings.importance_cap) if row in self.starts else 1.0
        result = {
            "prompt_ids": prompt,
            "prompt_mask": torch.ones_like(prompt),
            "completion_ids": completion,
            "completion_mask": torch.ones_like(completion),
            "tool_mask": trained.long(),
            "wanted": wanted.long(),
            "advantages": advantages * values["loss_weight"] * weights,
            "old_per_token_logps": old * wanted,
            "sampler_logps": sampler * wanted,
        }
        if self.settings.beta:
            result["ref_per_token_logps"] = self.references[row] * trained
        return result


class TableGRPO(WarmUp, GRPOTrainer):  # type: ignore[misc]
    """Clipped policy gradient on `train_rows`.

    With the log-probability s_t as the sampler stored it, o_t the trainer's own before the first step, the ratio
    r_t = exp(log pi_t - o_t), the row's weight w and c_t = w min(exp(o_t - s_t), importance_cap),

        l_t = -min(r_t c_t A_t, clip(r_t, 1 - epsilon, 1 + epsilon_high) c_t A_t) + beta r_t (e^{d_t} - d_t - 1),
        d_t = log ref_t - log pi_t,

    over trained tokens t. A sampler and a trainer that round differently (bfloat16 and float32: rms .05 nat per
    token, the size of an update) would otherwise start with ratios beside 1 and clip at random; c_t is the truncated
    importance weight of what was sampled by the one and is learned by the other. With `importance_cap = 0`, o_t is
    s_t and c_t is w: one forward pass less. The r_t before the KL gives it the gradient of the reverse KL
    (2512.02556). With `ratio = "sequence"`, r is exp of the row's mean of log pi_t - o_t (GSPO, 2507.18071), and the
    KL has no factor r. One optimizer batch of rows i with n_i trained tokens averages l as

        dapo     sum l / sum n                                (DAPO, 2503.14476)
        grpo     mean over i of (sum l_i / n_i)               (GRPO, 2402.03300)
        dr_grpo  sum l / (rows x longest completion)          (Dr. GRPO, 2503.20783)
        bnpo     mean over micro batches of (sum l / sum n)   (2506.02864; depends on the micro batches)

    Status: source, as TRL computes it; recomputed o_t and truncated weights as in verl and TRL (cap 2 there too).
    Ours: the weights multiply the advantages and not the KL; the longest completion is the table's, where Dr. GRPO
    takes the sampler's limit; padding does not count as rows. o_t stays over all epochs. The reference is the stored
    `ref_logprobs`, else the weights that training starts from. Where beta is 0, a row whose advantages are all 0
    counts in the averages but is not computed.

    Metrics of its own: `sampler_gap_mean` and `sampler_gap_max`, |log pi_t - s_t| in nat, at step 0 the plain
    difference between trainer and sampler; `entropy` in nat over the computed tokens.
    """

    def __init__(self, policy: Policy, table: SequenceTable, args: GRPOConfig, recorder: Recorder) -> None:
        slots = len(table.plan.slots)
        super().__init__(
            model=policy.model,
            reward_funcs=[_no_reward],
            args=args,
            train_dataset=Dataset.from_dict({"prompt": [""] * slots, "slot": list(range(slots))}),
            processing_class=policy.tokenizer,
            callbacks=[recorder],
        )
        # TRL wants groups to generate; here a batch of the loader is a micro batch of the plan, in its order.
        self.num_generations = 1
        self.args.steps_per_generation = 1
        self.args.generation_batch_size = table.plan.micro_batch * table.plan.processes
        self.beta = table.settings.beta
        self.remove_callback(PrinterCallback)
        self.warmup_share = table.settings.warmup
        self.table = table
        self._price = policy.price
        self._wanted_BT = self._sampler_BT = torch.zeros(0, 0)
        self._statistics: list[Tensor] = []

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        device = self.accelerator.device
        return {name: value.to(device) for name, value in self.table.batch([row["slot"] for row in inputs]).items()}

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, **_: Any
    ) -> tuple[Tensor, Tensor, None]:
        width = input_ids.shape[1] - logits_to_keep
        real = attention_mask.bool()
        prompts = [ids[on].tolist() for ids, on in zip(input_ids[:, :width], real[:, :width], strict=True)]
        # Padded on the right, and never wanted there.
        completions = input_ids[:, width:].tolist()
        scores = completion_logps(
            model,
            prompts,
            completions,
            self._wanted_BT.tolist(),
            temperature=self.temperature,
            price=self._price,
        )
        gap = (scores.logps.detach() - self._sampler_BT).abs() * self._wanted_BT
        sums = torch.stack([gap.sum(), scores.entropies.sum(), self._wanted_BT.sum(), gap.max()])
        self._statistics.append(self.accelerator.gather(sums[None]))
        return scores.logps, scores.entropies, None

    def _compute_loss(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        self._wanted_BT, self._sampler_BT = inputs["wanted"].float(), inputs["sampler_logps"]
        loss: Tensor = super()._compute_loss(model, inputs)
        return loss * inputs["padding_scale"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the metrics named in the class; TRL's own `entropy` would count tokens that were not computed."""
        if self._statistics:
            found = torch.cat(self._statistics)
            gap, entropy, count = (found[:, i].sum().item() for i in range(3))
            own = {
                "sampler_gap_mean": gap / max(count, 1.0),
                "sampler_gap_max": found[:, 3].max().item(),
                "entropy": entropy / max(count, 1.0),
            }
            self._metrics["train"].update({name: [value] for name, value in own.items()})
            self._statistics.clear()
        super().log(logs, start_time)


def _no_reward(completions: list[Any], **_: Any) -> list[float]:
    """TRL insists on a reward function, and never calls it here."""
    return [0.0] * len(completions)


def train_grpo(
    policy: Policy, rows: pl.DataFrame, settings: TrainConfig, *, seed: int, folder: str, recorder: Recorder
) -> None:
    """Train `policy.model` in place on the `train_rows` that `refuse_sequences` left; metrics go to `recorder`.

    Raises UserError for no row, for rows of several temperatures, and for `ratio = "sequence"` with another loss
    than grpo.
    """
    if settings.ratio == "sequence" and settings.loss != "grpo":
        raise UserError(f"train.ratio = 'sequence' with train.loss = {settings.loss!r}: set train.loss to 'grpo'")
    temperatures = rows["temperature"].unique().to_list()
    if len(temperatures) > 1:
        raise UserError(f"train_rows: sampled at {len(temperatures)} temperatures; train on one of them at a time")
    plan = schedule(
        rows.height,
        lambda row: [*rows["prompt_ids"][row], *rows["completion_ids"][row]],
        settings,
        processes=number_of_processes(),
        seed=seed,
    )
    args = GRPOConfig(
        **arguments(settings, plan, seed, folder),
        temperature=float(temperatures[0]),
        beta=0.0,  # set after construction, or TRL loads a second model
        epsilon=settings.epsilon,
        epsilon_high=settings.epsilon_high,
        loss_type=settings.loss,
        importance_sampling_level=settings.ratio,
        use_bias_correction_kl=settings.ratio == "token",
        max_completion_length=int(rows["completion_ids"].list.len().max()),  # type: ignore[arg-type]
        num_generations=2,
        steps_per_generation=2,
        num_iterations=1,
        shuffle_dataset=False,
        router_aux_loss_coef=0.0,
    )
    table = SequenceTable(rows, plan, settings)
    trainer = TableGRPO(policy, table, args, recorder)
    if settings.importance_cap:
        table.starts.update(_logps_now(trainer, table, policy.price, _with_signal(table)))
    if settings.beta:
        table.references.update(_references(trainer, table, policy.price))
    trainer.train()


def _with_signal(table: SequenceTable) -> list[int]:
    """The rows of the table whose ratios enter the loss."""
    if table.settings.beta:
        return list(range(table.rows.height))
    return [row for row in range(table.rows.height) if table.has_signal(row)]


def _logps_now(trainer: TableGRPO, table: SequenceTable, price: int, rows: list[int]) -> dict[int, Tensor]:
    """Log-probabilities of the weights as they are, for those of `rows` that this process computes."""
    mine = set(table.plan.rows_of(trainer.accelerator.process_index))
    chosen = [row for row in rows if row in mine]
    sequences = [table.tokens(row) for row in chosen]
    return dict(zip(chosen, fixed_logps(trainer, price, sequences, trainer.temperature), strict=True))


def _references(trainer: TableGRPO, table: SequenceTable, price: int) -> dict[int, Tensor]:
    """The stored log-probabilities, or else those of the weights as they are, for the rows of this process."""
    stored = table.rows["ref_logprobs"] if "ref_logprobs" in table.rows.columns else pl.Series([None] * len(table.rows))
    mine = table.plan.rows_of(trainer.accelerator.process_index)
    result = {row: torch.tensor(stored[row].to_list()) for row in mine if stored[row] is not None}
    return result | _logps_now(trainer, table, price, [row for row in mine if row not in result])
