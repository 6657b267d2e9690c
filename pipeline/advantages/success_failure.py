"""Success and failure: message credit where the rollout won, the first error where it lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import polars as pl

from apportion.pipeline.advantages.base import Inputs, Need, Standardised, require_branches

_PLACE = ["trajectory_id", "message_index"]


class SuccessFailure(Standardised):
    """A message's own reward r, not centred: positive is always praise and negative always blame.

    Success: r is the message's credit, which sums over an agent's messages to the agent's.
    Failure: r = -confidence at the first error t*, 0 before it and on what only inherits it, and after it the rise
    V(after) - V(before) of a message where that is positive: an attempt at repair is worth something though the
    rollout failed. Without `steps` no rise is known and counts as 0.
    scale: "raw" gives A = r; "group" gives A = r / (std r + delta), std over all messages of the group's rollouts. Both
    branches keep their sign: centring would blame sound messages of a success for not being above the mean.
    Status: ours, after the signal that the abstract of arXiv 2511.10687 asks for.
    Degenerate: the outcome's channel has no credit and gets 0 in a success; an unlocalized failure gives 0; a null
    confidence counts as 1; a trajectory that was not annotated (a limit) gives 0 with a null reward. Under "group", one
    message or a span below sigma_min gives 0. Cost: message credit on successes, a first error on failures.
    """

    name: ClassVar[str] = "success_failure"
    needs: ClassVar[frozenset[Need]] = frozenset({"message_credits", "localizations"})

    scale: Literal["raw", "group"] = "raw"
    """`group` divides a reward by the deviation of its group; `raw` leaves it as it is."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The scale, and the fields of a group where they are used."""
        return super().parameters if self.scale == "group" else {"scale": self.scale}

    def advantages(self, inputs: Inputs) -> pl.DataFrame:
        """See `Advantage.advantages`."""
        credits, errors = require_branches(self.name, inputs)
        spoken = inputs.spoken()
        games = credits.select("trajectory_id", "game_id").unique()
        first, blame = pl.col("first_error"), pl.col("confidence").fill_null(1.0)
        rise = (pl.col("value_after") - pl.col("value_before")).clip(lower_bound=0.0).fill_null(0.0)
        at, after = pl.col("message_index") == first, pl.col("message_index") > first
        failed = pl.when(at).then(-blame).when(after).then(rise).otherwise(0.0)
        credited = {*games["trajectory_id"], *inputs.unplayable}
        trajectory = pl.col("trajectory_id")
        known = (
            pl.when("success")
            .then(trajectory.is_in(list(credited)))
            .otherwise(trajectory.is_in(errors["trajectory_id"].to_list()))
        )
        rows = (
            spoken.select(*_PLACE, "group", "success")
            .join(games, on="trajectory_id", how="left")
            .join(credits.select(*_PLACE, "credit"), on=_PLACE, how="left")
            .join(errors.select("trajectory_id", "first_error", "confidence"), on="trajectory_id", how="left")
            .join(inputs.steps.select(*_PLACE, "value_before", "value_after"), on=_PLACE, how="left")
            .with_columns(
                success_credit=pl.when("success").then(pl.col("credit").fill_null(0.0)).otherwise(0.0),
                failure_signal=pl.when("success").then(0.0).otherwise(failed),
            )
            .with_columns(
                reward=pl.when(known).then(pl.col("success_credit") + pl.col("failure_signal")),
                reward_parts=pl.struct("success_credit", "failure_signal"),
            )
        )
        return self.rows(spoken, self._scaled(rows), _PLACE)

    def _scaled(self, rows: pl.DataFrame) -> pl.DataFrame:
        if self.scale == "group":
            return self.compared(rows, ["group"], pl.col("reward") / (pl.col("group_std") + self.delta))
        return rows.with_columns(
            pl.lit(None, dtype=pl.Float64).alias("group_mean"),
            pl.lit(None, dtype=pl.Float64).alias("group_std"),
            pl.lit(None, dtype=pl.Int32).alias("group_size"),
            advantage=pl.col("reward").fill_null(0.0),
            degenerate=pl.lit(False),
        )
