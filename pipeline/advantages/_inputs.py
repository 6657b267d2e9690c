"""What an advantage method is given, and the views of it that the methods share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from apportion.pipeline.core.errors import UserError

Need = Literal["credits", "credits_on_failures", "message_credits", "localizations"]

_TEXT, _NUMBER, _INDEX = pl.String(), pl.Float64(), pl.Int32()
CREDITS = {
    "game_id": _TEXT, "trajectory_id": _TEXT, "player": _TEXT, "role": _TEXT, "credit": _NUMBER, "loo": _NUMBER,
    "v_full": _NUMBER, "v_empty": _NUMBER,
}  # fmt: skip
MESSAGE_CREDITS = {
    "game_id": _TEXT, "trajectory_id": _TEXT, "message_index": _INDEX, "agent": _TEXT, "credit": _NUMBER,
}  # fmt: skip
LOCALIZATIONS = {"trajectory_id": _TEXT, "first_error": _INDEX, "agent": _TEXT, "confidence": _NUMBER}
STEPS = {"trajectory_id": _TEXT, "message_index": _INDEX, "value_before": _NUMBER, "value_after": _NUMBER}


@dataclass(frozen=True)
class Inputs:
    """The tables of a run that a method may look at; columns as in `schemas`, more of them are left aside.

    trajectories: sampled rollouts (trajectory_id, group_id, outcome in [0, 1], success). messages: all of their
    messages (trajectory_id, message_index, agent, chat role, tool_valid, trainable); those of other
    trajectories are left aside. team_roles: agent -> role in the team.
    credits: agents of one game a trajectory. message_credits: of the same games. localizations: one a failure.
    steps: one value before and after a message of a failure. An empty table keeps its columns, as the default does.
    unplayable: trajectories in which nobody could be masked; credit counts as 0 there.
    """

    trajectories: pl.DataFrame
    messages: pl.DataFrame
    team_roles: Mapping[str, str]
    credits: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CREDITS))
    message_credits: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=MESSAGE_CREDITS))
    localizations: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LOCALIZATIONS))
    steps: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=STEPS))
    unplayable: frozenset[str] = frozenset()

    def rollouts(self) -> pl.DataFrame:
        """trajectory_id, group_id, group, outcome, success: one row a trajectory.

        `group` is what rewards are compared within: the group_id, or the trajectory itself where it has none.
        Raises UserError for a trajectory without an outcome.
        """
        rollouts = self.trajectories.select(
            "trajectory_id",
            "group_id",
            pl.col("outcome").cast(pl.Float64),
            pl.col("success").fill_null(False),
            group=pl.coalesce("group_id", "trajectory_id"),
        )
        unknown = rollouts.filter(~pl.col("outcome").is_finite().fill_null(False))
        if len(unknown):
            raise UserError(
                f"trajectory {unknown['trajectory_id'][0]}: no outcome to reward ({len(unknown)} of {len(rollouts)} "
                "have none); verify the rollouts, or leave these out"
            )
        return rollouts

    def spoken(self) -> pl.DataFrame:
        """The agents' own messages, with the columns of `rollouts` and the agent's team `role` (null: unknown)."""
        columns = ["trajectory_id", "message_index", "agent", "tool_valid", "trainable"]
        roles = pl.DataFrame(
            {"agent": list(self.team_roles), "team_role": list(self.team_roles.values())},
            schema={"agent": pl.String, "team_role": pl.String},
        )
        return (
            self.messages.filter(pl.col("role") == "assistant")
            .select(columns)
            .join(self.rollouts(), on="trajectory_id")
            .join(roles, on="agent", how="left")
            .rename({"team_role": "role"})
        )


def require_credits(method: str, inputs: Inputs) -> pl.DataFrame:
    """The credits, one row a (trajectory, agent): game_id, trajectory_id, agent, credit, loo.

    Raises UserError where a playable trajectory has no credit, or an agent has two in a trajectory.
    """
    credits = inputs.credits.select("game_id", "trajectory_id", "credit", "loo", agent="player")
    absent = _absent(inputs, inputs.trajectories["trajectory_id"], credits)
    if absent:
        raise UserError(
            f"advantages {method}: {absent} of {len(inputs.trajectories)} trajectories have no credit, and the method "
            "compares credit within a group; credit all rollouts: `apportion annotate --set annotate.on=all`"
        )
    _refuse_doubled(method, credits, ["trajectory_id", "agent"], "credits", "pass one game a trajectory")
    return credits


def require_branches(method: str, inputs: Inputs) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(message credits of the successes, localizations of the failures).

    A trajectory that was left out of either (a limit) has no signal. Raises UserError where there are successes and
    none was credited, where there are failures and none was looked at, and where a key is there twice.
    """
    credits, errors = inputs.message_credits, inputs.localizations
    won = inputs.trajectories.filter(pl.col("success").fill_null(False))["trajectory_id"]
    lost = inputs.trajectories.filter(~pl.col("success").fill_null(False))["trajectory_id"]
    playable = len(set(won) - inputs.unplayable)
    if playable and _absent(inputs, won, credits) == playable:
        raise UserError(
            f"advantages {method}: none of {playable} successes has message credits; credit them first: "
            "`apportion annotate`"
        )
    if len(lost) and not lost.is_in(errors["trajectory_id"].to_list()).any():
        raise UserError(
            f"advantages {method}: no first error was looked for in {len(lost)} failures; localize them first "
            "(failures.localizer is not none)"
        )
    _refuse_doubled(method, credits, ["trajectory_id", "message_index"], "message credits", "pass one estimator")
    _refuse_doubled(method, errors, ["trajectory_id"], "localizations", "pass one localizer and target")
    _refuse_doubled(method, inputs.steps, ["trajectory_id", "message_index"], "steps", "pass one process model")
    return credits, errors


def _absent(inputs: Inputs, trajectories: pl.Series, table: pl.DataFrame) -> int:
    """How many of the playable `trajectories` have no row in `table`."""
    return len(set(trajectories) - inputs.unplayable - set(table["trajectory_id"]))


def _refuse_doubled(method: str, table: pl.DataFrame, key: list[str], what: str, cure: str) -> None:
    doubled = table.filter(pl.struct(key).is_duplicated()) if len(table) else table
    if len(doubled):
        place = ", ".join(f"{name} {doubled[name][0]}" for name in key)
        raise UserError(f"advantages {method}: several {what} for {place}; {cure}")
