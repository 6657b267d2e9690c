"""success_failure: message credit on wins, the first error on losses."""

from __future__ import annotations

import dataclasses

import polars as pl
import pytest

from apportion.pipeline.advantages.success_failure import SuccessFailure
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.registry import family
from apportion.schemas import TABLES

METHODS = family("advantages")

TEAM = {"won": (1, "ann bob cid ann"), "lost": (0, "ann bob cid ann")}


def shares(trajectory: str, **credits: float | None) -> pl.DataFrame:
    """Message credits by index: `shares("won", m1=0.2)`."""
    return pl.DataFrame(
        {
            "game_id": f"v{trajectory}",
            "trajectory_id": trajectory,
            "message_index": pl.Series([int(name[1:]) for name in credits], dtype=pl.Int32),
            "agent": "x",
            "credit": pl.Series(list(credits.values()), dtype=pl.Float64),
        }
    )


def error_at(trajectory: str, index: int | None, confidence: float | None) -> pl.DataFrame:
    return pl.DataFrame(
        {"trajectory_id": [trajectory], "first_error": [index], "agent": ["bob"], "confidence": [confidence]},
        schema={"trajectory_id": pl.String, "first_error": pl.Int32, "agent": pl.String, "confidence": pl.Float64},
    )


def values(trajectory: str, **after: tuple[float, float]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "trajectory_id": trajectory,
            "message_index": pl.Series([int(name[1:]) for name in after], dtype=pl.Int32),
            "value_before": [before for before, _ in after.values()],
            "value_after": [later for _, later in after.values()],
        }
    )


WON = shares("won", m1=0.2, m2=0.5, m3=-0.1, m4=None)


def test_by_hand(run_of, of):
    """The outcome's channel (message 4 of the win) has no credit; bob's error at 2 costs its confidence."""
    run = run_of(TEAM, message_credits=WON, localizations=error_at("lost", 2, 0.75))
    table = METHODS.make("success_failure").advantages(run)
    assert of(table) == {
        ("won", 1): 0.2, ("won", 2): 0.5, ("won", 3): -0.1, ("won", 4): 0.0,
        ("lost", 1): 0.0, ("lost", 2): -0.75, ("lost", 3): 0.0, ("lost", 4): 0.0,
    }  # fmt: skip
    assert of(table, "game_id")["won", 4] == "vwon"
    assert of(table, "game_id")["lost", 2] is None
    assert not table["degenerate"].any()
    assert TABLES["advantages"].conform(table.to_arrow()).num_rows == 8


def test_a_corrective_message_earns_its_rise_and_nothing_else_does(run_of, of):
    """Before the error a rise is no correction, at the error blame stands, and after it a fall is inherited."""
    run = run_of(
        TEAM,
        message_credits=WON,
        localizations=error_at("lost", 2, None),
        steps=values("lost", m1=(0.2, 0.9), m2=(0.9, 0.1), m3=(0.1, 0.4), m4=(0.4, 0.0)),
    )
    found = of(METHODS.make("success_failure").advantages(run))
    assert [found["lost", i] for i in (1, 2, 3, 4)] == pytest.approx([0, -1, 0.3, 0])


def test_an_unlocalized_failure_gives_zero(run_of, of):
    run = run_of(TEAM, message_credits=WON, localizations=error_at("lost", None, None))
    table = METHODS.make("success_failure").advantages(run)
    assert [of(table)["lost", i] for i in (1, 2, 3, 4)] == [0, 0, 0, 0]
    assert of(table, "reward")["lost", 1] == 0


def test_group_scale_divides_by_the_spread_and_does_not_centre(run_of, of):
    """Rewards of the group: .4, .2 and -.6, 0; mean 0, squares sum to .56, so std = sqrt(.56 / 3)."""
    run = run_of(
        {"won": (1, "ann bob"), "lost": (0, "ann bob")},
        message_credits=shares("won", m1=0.4, m2=0.2),
        localizations=error_at("lost", 1, 0.6),
    )
    table = SuccessFailure(scale="group").advantages(run)
    std = (0.56 / 3) ** 0.5
    assert of(table) == pytest.approx(
        {("won", 1): 0.4 / std, ("won", 2): 0.2 / std, ("lost", 1): -0.6 / std, ("lost", 2): 0}, abs=1e-5
    )
    assert set(table["group_size"]) == {4}
    lone = run_of({"won": (1, "ann bob")}, message_credits=shares("won", m1=0.4, m2=0.3))
    std = 0.1 * 0.5**0.5
    assert of(SuccessFailure(scale="group").advantages(lone)) == pytest.approx(
        {("won", 1): 0.4 / std, ("won", 2): 0.3 / std}, abs=1e-3
    )


@pytest.mark.parametrize("credits", [{"m1": 0.4}, {"m1": 0.4, "m2": 0.4005}])
def test_group_scale_of_one_message_or_of_equal_ones_gives_zero(run_of, credits):
    run = run_of({"won": (1, " ".join(["ann"] * len(credits)))}, message_credits=shares("won", **credits))
    table = SuccessFailure(scale="group").advantages(run)
    assert table["advantage"].to_list() == [0] * len(credits)
    assert table["degenerate"].all()
    assert METHODS.make("success_failure").advantages(run)["advantage"].to_list() == list(credits.values())


def test_what_was_not_annotated_has_no_reward_and_is_not_compared(run_of, of):
    """A limit left out one win and one loss; credit of a failure is no signal here."""
    rollouts = {"won": (1, "ann"), "lost": (0, "ann"), "won2": (1, "ann"), "lost2": (0, "ann")}
    credits = shares("won", m1=0.4).vstack(shares("lost2", m1=0.4))
    run = run_of(rollouts, message_credits=credits, localizations=error_at("lost", 1, 0.6))
    for scale in ("raw", "group"):
        table = SuccessFailure(scale=scale).advantages(run)
        assert of(table, "reward") == {("won", 1): 0.4, ("lost", 1): -0.6, ("won2", 1): None, ("lost2", 1): None}
        assert of(table)["won2", 1] == of(table)["lost2", 1] == 0
    assert set(table["group_size"]) == {2}


def test_what_is_missing_altogether_is_refused_with_the_cure(run_of):
    with pytest.raises(UserError, match="none of 1 successes has message credits.*apportion annotate"):
        METHODS.make("success_failure").advantages(run_of(TEAM, localizations=error_at("lost", 2, 1)))
    with pytest.raises(UserError, match="no first error was looked for in 1 failures; localize them first"):
        METHODS.make("success_failure").advantages(run_of(TEAM, message_credits=WON))
    run = run_of({"won": TEAM["won"]})
    playable = dataclasses.replace(run, unplayable=frozenset({"won"}))
    assert METHODS.make("success_failure").advantages(playable)["reward"].to_list() == [0, 0, 0, 0]


def test_two_localizers_are_refused(run_of):
    twice = error_at("lost", 2, 1).vstack(error_at("lost", 3, 1))
    with pytest.raises(UserError, match="several localizations for trajectory_id lost"):
        METHODS.make("success_failure").advantages(run_of(TEAM, message_credits=WON, localizations=twice))
