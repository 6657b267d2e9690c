"""Which rows can be trained on, and the batches they are computed in. No torch: stages may call this too."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from apportion.pipeline.core.config import TrainConfig
from apportion.pipeline.core.errors import UserError

_PARALLEL = ("completion_mask", "old_logprobs", "advantages")
_PADDING = -1


@dataclass(frozen=True)
class Refused:
    """Rows left out, by reason; a row counts under the first reason that holds."""

    counts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def __str__(self) -> str:
        return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in self.counts.items()) or "none"


def refuse_sequences(rows: pl.DataFrame) -> tuple[pl.DataFrame, Refused]:
    """Leave out the `train_rows` whose log-probabilities a trainer could not reproduce, or has no use for.

    Refused are rows without a prompt, without a trained token, of uneven lengths, sampled greedily or at an
    unknown temperature, without a weight, and with a missing, non-finite or positive log-probability or a missing
    or non-finite advantage on a trained token. Messages sampled under a grammar, top-p, top-k or penalties never
    become `train_rows`, because they are not `trainable`.
    """
    length = pl.col("completion_ids").list.len()
    uneven = pl.any_horizontal(*(pl.col(name).list.len().ne_missing(length) for name in _PARALLEL))
    kept, counts = _drop(
        rows,
        {
            "without_prompt": pl.col("prompt_ids").list.len().fill_null(0) == 0,
            "of_uneven_lengths": uneven,
            "without_trained_token": ~pl.col("completion_mask").list.any().fill_null(False),
            "sampled_greedily_or_at_unknown_temperature": ~(pl.col("temperature") > 0).fill_null(False),
            "without_weight": ~(pl.col("loss_weight") > 0).fill_null(False),
        },
    )
    logprob = pl.col("old_logprobs")
    trained = kept.with_row_index("row").select("row", *_PARALLEL).explode(_PARALLEL).filter("completion_mask")
    marked = trained.group_by("row", maintain_order=True).agg(
        bad_logprob=(~(logprob.is_finite() & (logprob <= 1e-4)).fill_null(False)).any(),
        bad_advantage=(~pl.col("advantages").is_finite().fill_null(False)).any(),
    )
    kept, more = _drop(
        kept.hstack(marked.drop("row")),
        {
            "with_unusable_log_probabilities": pl.col("bad_logprob"),
            "with_unusable_advantages": pl.col("bad_advantage"),
        },
    )
    return kept.drop("bad_logprob", "bad_advantage"), Refused(counts | more)


def refuse_pairs(pairs: pl.DataFrame) -> tuple[pl.DataFrame, Refused]:
    """Leave out the `preferences` without token ids, with the same tokens on both sides, or without a weight."""
    sides = ("prompt_ids", "chosen_ids", "rejected_ids")
    kept, counts = _drop(
        pairs,
        {
            "without_token_ids": pl.any_horizontal(*(pl.col(name).list.len().fill_null(0) == 0 for name in sides)),
            "with_the_same_tokens": pl.col("chosen_ids") == pl.col("rejected_ids"),
            "without_weight": ~(pl.col("weight") > 0).fill_null(False),
        },
    )
    return kept, Refused(counts)


def _drop(rows: pl.DataFrame, reasons: dict[str, pl.Expr]) -> tuple[pl.DataFrame, dict[str, int]]:
    counts = {}
    for reason, condition in reasons.items():
        kept = rows.filter(~condition)
        if kept.height < rows.height:
            counts[reason] = rows.height - kept.height
        rows = kept
    return rows, counts


@dataclass(frozen=True)
class Schedule:
    """Every row of the training, in the order in which slots are computed; -1 is padding.

    Slots are cut into micro batches of `micro_batch`; `processes` of them run side by side, `accumulation` such
    rounds are one optimizer step. Hence process p computes micro batches p, p + processes, and so on.
    """

    slots: tuple[int, ...]
    micro_batch: int
    accumulation: int
    processes: int

    @property
    def slots_per_step(self) -> int:
        return self.micro_batch * self.accumulation * self.processes

    @property
    def steps(self) -> int:
        return len(self.slots) // self.slots_per_step

    def step_rows(self, step: int) -> list[int]:
        """The rows of one optimizer step, padding left out."""
        part = self.slots[step * self.slots_per_step : (step + 1) * self.slots_per_step]
        return [row for row in part if row != _PADDING]

    def micro_batches(self, step: int) -> list[list[int]]:
        """The rows of each micro batch of one optimizer step, padding left out; some may be empty."""
        first = step * self.slots_per_step
        starts = range(first, first + self.slots_per_step, self.micro_batch)
        return [[row for row in self.slots[at : at + self.micro_batch] if row != _PADDING] for at in starts]

    def rows_of(self, process: int) -> list[int]:
        """The rows that one process computes, each once, in ascending order."""
        micro = (slot // self.micro_batch for slot in range(len(self.slots)))
        chosen = {row for row, m in zip(self.slots, micro, strict=True) if m % self.processes == process}
        return sorted(chosen - {_PADDING})


def schedule(
    rows: int,
    tokens: Callable[[int], list[int]],
    settings: TrainConfig,
    *,
    processes: int,
    seed: int,
) -> Schedule:
    """Random optimizer batches, each sorted by its tokens, so that a micro batch shares as long a prefix as it can.

    Every epoch visits each row once, in batches of `batch_size` over all processes; the last one of an epoch may
    be smaller. A batch is filled up with padding to whole micro batches. `tokens(row)` is what it is sorted by.
    Raises UserError where there is no row.
    """
    if not rows:
        raise UserError("train: there is no row to train on")
    batch = min(settings.batch_size, rows)
    micro = min(settings.micro_batch_size, -(-batch // processes))
    accumulation = -(-batch // (micro * processes))
    slots: list[int] = []
    for epoch in range(settings.epochs):
        order = list(range(rows))
        random.Random(f"{seed}:{epoch}").shuffle(order)
        for start in range(0, rows, batch):
            part = sorted(order[start : start + batch], key=tokens)
            slots += part + [_PADDING] * (micro * accumulation * processes - len(part))
    return Schedule(tuple(slots), micro, accumulation, processes)
