"""Training rows: token sequences with one advantage a token, a message long or a whole agent trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import polars as pl

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest

ROW_SCHEMA = pl.Schema(
    {
        "row_id": pl.String(),
        "method": pl.String(),
        "trajectory_id": pl.String(),
        "group_id": pl.String(),
        "agent": pl.String(),
        "role": pl.String(),
        "policy_id": pl.String(),
        "prompt_ids": pl.List(pl.Int32),
        "completion_ids": pl.List(pl.Int32),
        "completion_mask": pl.List(pl.Boolean),
        "old_logprobs": pl.List(pl.Float32),
        "ref_logprobs": pl.List(pl.Float32),
        "advantages": pl.List(pl.Float32),
        "loss_weight": pl.Float64(),
        "temperature": pl.Float64(),
        "sources": pl.List(pl.String),
        "split": pl.String(),
    }
)
_PLACE = ["trajectory_id", "message_index"]
_CALL = ["method", "trajectory_id", "agent", "agent_call_id"]
_SAMPLED_ALIKE = ["policy_id", "temperature"]


@dataclass(frozen=True)
class Rows:
    """Training rows, and what was left out on the way.

    table: columns of `ROW_SCHEMA`, one row a sequence. refused: reason -> messages whose log-probabilities no trainer
    can reproduce. flat: rows without any advantage, which a policy gradient passes over.
    """

    table: pl.DataFrame
    refused: Mapping[str, int]
    flat: int


def train_rows(
    advantages: pl.DataFrame,
    messages: pl.DataFrame,
    unit: Literal["agent", "message"],
    keep_flat: bool = False,
    weighs_agents: bool = False,
    changed: Mapping[str, Any] = MappingProxyType({}),
) -> Rows:
    """Sequences of the messages that have an advantage, by method, trajectory, agent, call and place.

    `messages`: trajectory_id, message_index, agent_call_id, prompt_ids, completion_ids, completion_mask,
    sampling_logprobs, temperature, top_p, top_k, constrained, trainable, policy_id, and optionally split and role (a
    chat role: others than assistant are left aside). `advantages`: rows of that table.

    unit "message": a row a message. unit "agent": the messages of one call of an agent are stitched for as long as the
    next prompt begins with the previous prompt and completion, token by token, under the same policy and temperature.
    The tokens that it adds (tool results, notices, the end of a turn) stand in completion_ids, untrained: mask false,
    old_logprobs and advantage 0. Where the prefix does not match, a new row begins: stitching never changes the
    tokens that a trained one was conditioned on.

    loss_weight is 1, or 1 / (number of trained agents of the trajectory) where the method `weighs_agents`. Flat rows
    are dropped unless `keep_flat` (a KL penalty reaches them too). row_id hashes method and sources, and the method's
    parameters that were `changed` from their defaults.
    Raises UserError where an advantage belongs to no message. Cost: linear in the tokens of prompts and completions.
    """
    if "role" in messages.columns:
        messages = messages.filter(pl.col("role") == "assistant")
    messages = messages.with_columns(refusal=_refusal())
    refused = messages["refusal"].drop_nulls().value_counts(name="messages").sort("refusal")
    usable = messages.filter(pl.col("refusal").is_null())
    table = _sequences(_chained(_joined(advantages, usable, messages, weighs_agents), unit), changed)
    flat = table["advantages"].list.eval(pl.element() == 0).list.all()
    return Rows(
        table if keep_flat else table.filter(~flat),
        dict(zip(refused["refusal"].to_list(), refused["messages"].to_list(), strict=True)),
        int(flat.sum()),
    )


def _refusal() -> pl.Expr:
    """Why a message cannot be trained on, null where it can: the first reason that holds."""
    trained = pl.col("completion_mask").list.any().fill_null(True)
    reasons = {
        "no tokens": pl.col("prompt_ids").is_null() | (pl.col("completion_ids").list.len().fill_null(0) == 0),
        "no trained tokens": ~trained,
        "no log-probabilities": pl.col("sampling_logprobs").is_null(),
        "constrained decoding": pl.col("constrained").fill_null(False),
        "top-p": pl.col("top_p").fill_null(1.0) < 1,
        "top-k": pl.col("top_k").fill_null(0) > 0,
        "greedy decoding": pl.col("temperature") <= 0,
        "marked not trainable": ~pl.col("trainable").fill_null(False),
    }
    return pl.coalesce(pl.when(holds).then(pl.lit(reason)) for reason, holds in reasons.items())


def _joined(advantages: pl.DataFrame, kept: pl.DataFrame, messages: pl.DataFrame, weighs_agents: bool) -> pl.DataFrame:
    """Advantages beside the tokens of their messages, in order, with the weight of each in the loss."""
    lost = advantages.join(messages, on=_PLACE, how="anti")
    if len(lost):
        first = lost.row(0, named=True)
        raise UserError(
            f"advantages: {len(lost)} belong to no message (first: message {first['message_index']} of trajectory "
            f"{first['trajectory_id']}); compute them again on this run"
        )
    split = pl.col("split") if "split" in kept.columns else pl.lit(None, dtype=pl.String).alias("split")
    mask = pl.coalesce("completion_mask", pl.lit(True).repeat_by(pl.col("completion_ids").list.len()))
    tokens = kept.select(
        *_PLACE, "agent_call_id", "prompt_ids", "completion_ids", *_SAMPLED_ALIKE, split,
        completion_mask=mask, old_logprobs=pl.col("sampling_logprobs"),
    )  # fmt: skip
    told = advantages.select("method", *_PLACE, "group_id", "agent", "role", "advantage")
    agents = pl.col("agent").n_unique().over("method", "trajectory_id")
    return (
        told.join(tokens, on=_PLACE)
        .sort(*_CALL, "message_index")
        .with_columns(loss_weight=1.0 / agents if weighs_agents else pl.lit(1.0))
    )


def _chained(rows: pl.DataFrame, unit: Literal["agent", "message"]) -> pl.DataFrame:
    """`rows` with `chain`, the number of the sequence that each belongs to, and `between`, its tokens before it."""
    if unit == "message":
        return rows.with_row_index("chain").with_columns(between=pl.lit([], dtype=pl.List(pl.Int32)))
    so_far = pl.concat_list("prompt_ids", "completion_ids").shift(1)
    same = [pl.col(name).eq_missing(pl.col(name).shift(1)) for name in (*_CALL, *_SAMPLED_ALIKE)]
    extended = rows.with_columns(so_far=so_far).with_columns(
        follows=pl.all_horizontal(
            *same, (pl.col("prompt_ids").list.head(pl.col("so_far").list.len()) == pl.col("so_far")).fill_null(False)
        )
    )
    new_tokens = pl.col("prompt_ids").list.slice(pl.col("so_far").list.len().fill_null(0))
    nothing = pl.lit([], dtype=pl.List(pl.Int32))
    return extended.with_columns(
        chain=(~pl.col("follows")).cum_sum(), between=pl.when("follows").then(new_tokens).otherwise(nothing)
    ).drop("so_far", "follows")


def _sequences(rows: pl.DataFrame, changed: Mapping[str, Any]) -> pl.DataFrame:
    """One row a chain: the prompt of its first message, then every completion with the tokens between them."""
    gap, length = pl.col("between").list.len(), pl.col("completion_ids").list.len()
    zeros = pl.lit(0.0, dtype=pl.Float32).repeat_by(gap)
    tokens = rows.select(
        "chain",
        completion_ids=pl.concat_list("between", "completion_ids"),
        completion_mask=pl.concat_list(pl.lit(False).repeat_by(gap), "completion_mask"),
        old_logprobs=pl.concat_list(zeros, pl.col("old_logprobs").cast(pl.List(pl.Float32))),
        advantages=pl.concat_list(zeros, pl.col("advantage").cast(pl.Float32).repeat_by(length)),
    )
    flat = (
        tokens.explode("completion_ids", "completion_mask", "old_logprobs", "advantages")
        .with_columns(advantages=pl.when("completion_mask").then("advantages").otherwise(0.0))
        .group_by("chain", maintain_order=True)
        .agg(pl.all())
    )
    source = pl.concat_str("trajectory_id", pl.col("message_index").cast(pl.String), separator=":")
    heads = rows.group_by("chain", maintain_order=True).agg(
        pl.exclude("between", "completion_ids", "completion_mask", "old_logprobs", "advantage").first(),
        sources=source,
    )
    table = heads.join(flat, on="chain", maintain_order="left")
    names = [
        "r" + digest([method, *([dict(changed)] if changed else []), sources])
        for method, sources in zip(table["method"], table["sources"].to_list(), strict=True)
    ]
    described = table.with_columns(
        pl.Series("row_id", names, dtype=pl.String), ref_logprobs=pl.lit(None, dtype=pl.List(pl.Float32))
    )
    return described.select(pl.col(name).cast(dtype) for name, dtype in ROW_SCHEMA.items())
