"""Solver and games: estimators against exact values, and how much the games say."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from apportion.pipeline.audit.figures import Figure
from apportion.pipeline.audit.inputs import masked_credits, masked_games
from apportion.pipeline.audit.solver import credit_by_role, games_say, sampled, solver


def figures(made: Any) -> dict[tuple[str, str, str], Figure]:
    games, credits, coalitions = masked_games(made.frame("games")), made.frame("credits"), made.frame("coalitions")
    masked = masked_credits(games, credits)
    found = [*solver(games, credits, coalitions), *games_say(games, masked, coalitions), *credit_by_role(masked)]
    return {(one.check, one.metric, one.scope): one for one in found}


def test_figures_by_hand(made: Any) -> None:
    made.game("t", {"boss": 0.01, "left": 0.02}, leak=0.2)
    made.game("u", {"boss": 0.03, "left": 0.30}, leak=0.8)
    made.rows["coalitions"][0]["truncated"] = True
    for row in made.rows["credits"]:  # leave-one-out is off by 0.1 in one game
        row["loo"] += 0.1 if row["trajectory_id"] == "u" else 0.0
    found = figures(made)
    value = {key: one.estimate.value for key, one in found.items()}
    assert value["games", "informative_share", "likelihood"] == 0.5
    assert value["games", "leak_mean", "likelihood"] == pytest.approx(0.5)
    assert value["games", "leak_above_half", "likelihood"] == 0.5
    assert value["games", "truncated_share", "likelihood"] == 1 / 8
    assert value["credit", "mean_credit", "likelihood, planner"] == pytest.approx(0.02)
    assert value["credit", "mean_credit", "likelihood, worker"] == pytest.approx(0.16)
    assert value["solver", "loo_mean_difference", "likelihood"] == pytest.approx(0.05)
    # Exact .01 .02 .03 .30, leave-one-out .01 .02 .13 .40: the same order.
    assert value["solver", "loo_spearman", "likelihood"] == pytest.approx(1.0)
    assert value["solver", "residual_max", "likelihood, exact"] == pytest.approx(0, abs=1e-12)
    assert found["solver", "residual_max", "likelihood, exact"].estimate.n == 2
    assert found["solver", "sampled_spearman", "likelihood"].estimate.note == "no exact games of 4 or more players"


def test_a_residual_is_seen(made: Any) -> None:
    made.game("t", {"a": 0.1, "b": 0.2})
    made.rows["credits"][1]["residual"] = -0.03
    assert figures(made)["solver", "residual_max", "likelihood, exact"].estimate.value == pytest.approx(0.03)


def test_sampling_solves_additive_games_and_errs_on_others(made: Any) -> None:
    worth = {name: 0.02 * place for place, name in enumerate("abcde", 1)}
    made.game("t", worth)
    found = figures(made)
    scope = "likelihood, 5 players"
    assert found["solver", "sampled_mean_difference", scope].estimate.value == pytest.approx(0, abs=1e-12)
    assert found["solver", "sampled_spearman", scope].estimate.value == pytest.approx(1)
    assert found["solver", "sampled_mean_difference", scope].estimate.note == "16 of 32 coalitions"
    # The AND game of five: Shapley 1/5 each; leave-one-out 1 each, 0.8 off.
    rows = made.frame("coalitions").with_columns(value=pl.when(pl.col("kept") == "11111").then(1.0).otherwise(0.0))
    by_metric = {one.metric: one.estimate for one in sampled(rows, "s")}
    assert by_metric["loo_mean_difference"].value == pytest.approx(0.8)
    error = by_metric["sampled_mean_difference"].value
    assert error is not None
    assert 0 < error < 0.8
    assert by_metric["sampled_spearman"].note == "the credits are constant"


def test_without_shapley_the_leave_one_out_credit_is_told(made: Any) -> None:
    made.game("t", {"a": 0.1, "b": 0.2})
    made.rows["credits"] = [row | {"estimator": "loo", "efficient": False} for row in made.rows["credits"]]
    found = figures(made)
    assert found["credit", "mean_credit", "likelihood, worker"].estimate.value == pytest.approx(0.15)
    assert found["games", "informative_share", "likelihood"].estimate.value == 1
    assert not any(metric == "residual_max" for _, metric, _ in found)


def test_leak_that_was_not_measured_is_null(made: Any) -> None:
    made.game("t", {"a": 0.1}, leak=None)
    one = figures(made)["games", "leak_mean", "likelihood"]
    assert (one.estimate.value, one.estimate.n) == (None, 0)
