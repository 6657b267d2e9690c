"""From the tables of a run to what an audit compares: masked credits, replayed differences, halves of the replay."""

from __future__ import annotations

import polars as pl

TRUTH = "replay"
"""The value function that the credit of all others is held against."""
SHAPLEY, LOO = "shapley", "loo"
_KIND = ("masking", "view", "answerer", "cue", "window", "scorer", "k", "decoding")
"""What may set two kinds of game with the same value function apart."""
_DIGITS = 12
"""Credits are rounded to so many decimals: what arithmetic leaves of a zero is a zero, and equal credits are ties."""


def masked_games(games: pl.DataFrame) -> pl.DataFrame:
    """The games of masked agents: game_id, trajectory_id, scope, answerer, leak.

    `scope` names the value function, and where the run holds several kinds of its games also what sets them apart
    (`likelihood masking=drop`): different games are never pooled.
    """
    chosen = games.filter((pl.col("player_kind") == "agent") & (pl.col("value_kind") != TRUTH))
    chosen = chosen.unique("game_id", keep="first", maintain_order=True)
    labels = [
        pl.when(pl.col(name).cast(pl.String).fill_null("none").n_unique().over("value_kind") > 1)
        .then(pl.format(f" {name}={{}}", pl.col(name).cast(pl.String).fill_null("none")))
        .otherwise(pl.lit(""))
        for name in _KIND
    ]
    scope = pl.concat_str("value_kind", *labels)
    return chosen.select("game_id", "trajectory_id", "answerer", "leak", scope=scope)


def masked_credits(games: pl.DataFrame, credits: pl.DataFrame) -> pl.DataFrame:
    """Credits of masked agents: scope, method, game_id, trajectory_id, answerer, player, role, credit; nulls left out.

    `games` as of `masked_games`. Method `shapley` is the exact value where there is one, else the sampled; `loo` the
    leave-one-out difference that every estimator stores beside.
    """
    known = games.select("game_id", "scope", "answerer")
    rows = credits.filter(pl.col("player_kind") == "agent").join(known, on="game_id")
    rows = rows.sort(pl.col("estimator") != "exact", "estimator", "game_id", "player")
    names = ["scope", "method", "game_id", "trajectory_id", "answerer", "player", "role", "credit"]
    parts = [
        rows.filter("efficient").with_columns(method=pl.lit(SHAPLEY)),
        rows.with_columns(method=pl.lit(LOO), credit=pl.col("loo")),
    ]
    found = pl.concat([part.select(names) for part in parts]).drop_nulls("credit")
    return (
        found.unique(["method", "game_id", "player"], keep="first", maintain_order=True)
        .with_columns(pl.col("credit").round(_DIGITS))
        .unique(["scope", "method", "trajectory_id", "player"], keep="first", maintain_order=True)
    )


def replayed(games: pl.DataFrame, credits: pl.DataFrame) -> pl.DataFrame:
    """Replayed one-removal differences: trajectory_id, player, branch, k, difference.

    An agent that was replayed more than once has the replay with the most samples.
    """
    rows = games.filter((pl.col("value_kind") == TRUTH) & (pl.col("player_kind") == "agent"))
    rows = rows.select("game_id", "branch", "k").unique("game_id", maintain_order=True).join(credits, on="game_id")
    rows = rows.select("game_id", "trajectory_id", "player", "branch", "k", difference=pl.col("loo").round(_DIGITS))
    rows = rows.drop_nulls("difference").sort(
        "trajectory_id", "player", "k", "game_id", descending=[False, False, True, False]
    )
    return rows.unique(["trajectory_id", "player"], keep="first", maintain_order=True).drop("game_id")


def halves(replays: pl.DataFrame, trajectories: pl.DataFrame) -> pl.DataFrame:
    """The replayed differences of `replayed`, each again from the rollouts of even and of odd rollout_index alone.

    Columns trajectory_id, player, even, odd. Rollouts without a verdict count in neither; an agent of which an arm of
    a half has no verdict is left out. `trajectories`: the run's, those of origin `replay` are used.
    """
    rollouts = trajectories.filter((pl.col("origin") == "replay") & pl.col("success").is_not_null())
    rollouts = rollouts.unique("trajectory_id", maintain_order=True).select(
        "rollout_index", "success", "removed", trajectory_id="parent_trajectory_id", branch="branch_message_index"
    )
    joined = rollouts.join(replays, on=["trajectory_id", "branch"]).with_columns(
        kept=pl.col("removed").list.len().fill_null(0) == 0, mine=pl.col("removed").list.contains(pl.col("player"))
    )
    joined = joined.filter((pl.col("kept") | pl.col("mine")) & (pl.col("rollout_index") < pl.col("k")))
    share = {
        half: pl.col("success").filter("kept", even == flag).mean()
        - pl.col("success").filter(~pl.col("kept"), even == flag).mean()
        for even in [pl.col("rollout_index") % 2 == 0]
        for half, flag in (("even", True), ("odd", False))
    }
    sides = joined.group_by("trajectory_id", "player", maintain_order=True).agg(**share)
    return sides.with_columns(pl.col("even", "odd").round(_DIGITS)).drop_nulls()
