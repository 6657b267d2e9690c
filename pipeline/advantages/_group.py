"""Rewards compared within their group, and the rows of the `advantages` table made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import polars as pl

ADVANTAGE_SCHEMA = pl.Schema(
    {
        "trajectory_id": pl.String,
        "message_index": pl.Int32,
        "method": pl.String,
        "parameters": pl.String,
        "agent": pl.String,
        "role": pl.String,
        "reward_parts": pl.String,
        "reward": pl.Float64,
        "group_id": pl.String,
        "group_mean": pl.Float64,
        "group_std": pl.Float64,
        "group_size": pl.Int32,
        "advantage": pl.Float64,
        "degenerate": pl.Boolean,
        "game_id": pl.String,
    }
)


def compared(rewards: pl.DataFrame, by: Sequence[str], advantage: pl.Expr, sigma_min: float) -> pl.DataFrame:
    """`rewards` with group_mean, group_std (ddof 1), group_size, degenerate and advantage, groups told apart by `by`.

    Each row counts once, a null `reward` not at all (its advantage is 0). `advantage` is an expression over the
    columns. A group of one, or whose rewards span less than `sigma_min`, gives 0 and is degenerate; the standard
    deviation of one reward is null.
    """
    reward = pl.col("reward")
    statistics = rewards.with_columns(
        group_mean=reward.mean().over(by),
        group_std=reward.std(ddof=1).over(by),
        group_size=reward.count().over(by),
        degenerate=((reward.max() - reward.min()) < sigma_min).fill_null(True).over(by),
    )
    return statistics.with_columns(
        advantage=pl.when(pl.col("degenerate")).then(0.0).otherwise(advantage).fill_null(0.0)
    )


def advantage_rows(
    name: str, parameters: Mapping[str, object], spoken: pl.DataFrame, rewards: pl.DataFrame, on: Sequence[str]
) -> pl.DataFrame:
    """See `Advantage.rows`."""
    told = ["reward", "group_mean", "group_std", "group_size", "advantage", "degenerate"]
    game = pl.col("game_id") if "game_id" in rewards.columns else pl.lit(None, dtype=pl.String).alias("game_id")
    joined = spoken.filter(pl.col("trainable").fill_null(False)).join(
        rewards.select(*on, *told, game, pl.col("reward_parts").struct.json_encode()), on=list(on)
    )
    described = joined.with_columns(
        method=pl.lit(name), parameters=pl.lit(json.dumps(dict(parameters), sort_keys=True))
    )
    columns = [pl.col(column).cast(dtype) for column, dtype in ADVANTAGE_SCHEMA.items()]
    return described.select(columns).sort("trajectory_id", "message_index")
