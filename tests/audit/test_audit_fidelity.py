"""Masked credit against replay: which agents are compared, with what, and how far the replay repeats itself."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import polars as pl
import pytest

from apportion.pipeline.audit.fidelity import fidelity, reliability
from apportion.pipeline.audit.figures import Figure
from apportion.pipeline.audit.inputs import halves, masked_credits, masked_games, replayed

AGENTS = {"a": 3, "b": 5, "c": 7}


def audited(made: Any, answerers: Sequence[tuple[str, str]] = ()) -> dict[tuple[str, str, str], Figure]:
    games, credits = made.frame("games"), made.frame("credits")
    speakers = pl.DataFrame(answerers, schema={"trajectory_id": pl.String, "agent": pl.String}, orient="row")
    masked = masked_credits(masked_games(games), credits)
    found = fidelity(masked, replayed(games, credits), made.frame("trajectories"), speakers)
    return {(one.check, one.metric, one.scope): one for one in found}


def fill(made: Any, sign: float, trajectories: int = 30) -> None:
    """Trajectories whose credits are `sign` times a tenth of the replayed differences, with k = 4."""
    rng = np.random.default_rng(1)
    for number in range(trajectories):
        name, worth = f"t{number:02d}", {}
        for agent, branch in AGENTS.items():
            kept, removed = ("".join(map(str, rng.integers(0, 2, 4))) for _ in range(2))
            made.replay(name, agent, branch, kept, removed)
            worth[agent] = sign * (kept.count("1") - removed.count("1")) / 40
        made.game(name, worth)


def test_perfect_and_inverted_credit(made: Any) -> None:
    fill(made, 1.0)
    found = audited(made)
    for method in ("shapley", "loo"):
        values = [found["fidelity", m, f"likelihood, {method}"] for m in ("spearman", "sign_agreement", "order_share")]
        assert [one.estimate.value for one in values] == pytest.approx([1, 1, 1])
        assert values[0].estimate.n == 90
    assert found["replay", "trajectories", "likelihood"].estimate.value == 30


def test_inverted_credit_is_seen(made: Any) -> None:
    fill(made, -1.0)
    found = audited(made)
    values = [found["fidelity", m, "likelihood, shapley"] for m in ("spearman", "sign_agreement", "order_share")]
    assert [one.estimate.value for one in values] == pytest.approx([-1, 0, 0])


def test_credit_without_relation_has_an_interval_around_nothing(made: Any) -> None:
    fill(made, 1.0)
    rng = np.random.default_rng(3)
    for row in made.rows["credits"]:
        if row["estimator"] == "exact":
            row["credit"] = row["loo"] = float(rng.normal())
    one = audited(made)["fidelity", "spearman", "likelihood, shapley"].estimate
    assert one.low is not None
    assert one.high is not None
    assert one.low < 0 < one.high
    assert one.high - one.low < 0.6


def test_halves_by_hand(made: Any) -> None:
    made.replay("t", "a", 3, "1110", "0100")  # even 1 - 0, odd 1/2 - 1/2
    made.replay("t", "b", 5, "11?0", "0001")  # even: one verdict each side of the gap
    made.replay("t", "c", 7, "?1?0", "0000")  # no verdict in the even half of an arm
    replays = replayed(made.frame("games"), made.frame("credits"))
    assert replays["difference"].to_list() == pytest.approx([0.75 - 0.25, 2 / 3 - 0.25, 0.5])
    found = {row["player"]: (row["even"], row["odd"]) for row in halves(replays, made.frame("trajectories")).to_dicts()}
    assert found == {"a": (1.0, 0.0), "b": (1.0, 0.0)}


def test_reliability_by_hand() -> None:
    names = [f"t{i}" for i in range(4)]
    compared = pl.DataFrame({"trajectory_id": names, "player": "a", "difference": [0.0, 0.5, -0.5, 0.25]})
    sides = pl.DataFrame({"trajectory_id": names, "player": "a", "even": [0.1, 0.2, 0.3, 0.4], "odd": [2.0, 1, 4, 3]})
    found = {one.metric: one.estimate for one in reliability(compared, sides, "s")}
    assert found["split_half"].value == pytest.approx(0.6)
    assert found["reliability"].value == pytest.approx(1.2 / 1.6)
    assert found["ceiling"].value == pytest.approx(sqrt(0.75))
    assert found["nonzero_share"].value == pytest.approx(0.75)
    assert found["commoner_sign"].value == pytest.approx(2 / 3)
    turned = sides.with_columns(odd=-pl.col("odd"))
    found = {one.metric: one.estimate for one in reliability(compared, turned, "s")}
    assert (found["split_half"].value, found["reliability"].value) == (pytest.approx(-0.6), 0.0)
    assert found["reliability"].note is not None
    assert found["reliability"].note.startswith("Spearman-Brown of split_half")
    constant = sides.with_columns(odd=pl.lit(0.0))
    found = {one.metric: one.estimate for one in reliability(compared, constant, "s")}
    assert {found[name].value for name in ("split_half", "reliability", "ceiling")} == {None}
    assert found["ceiling"].note == "a side is constant: no ranks to compare"


def test_the_answering_agent_is_compared_only_where_its_answer_is_masked_too(made: Any) -> None:
    fill(made, 1.0, 3)
    answerers = [(f"t{number:02d}", "a") for number in range(3)]
    found = audited(made, answerers)
    assert found["fidelity", "spearman", "likelihood, shapley"].estimate.n == 6
    assert found["replay", "answering_agents_left_out", "likelihood"].estimate.value == 3
    for row in made.rows["games"]:
        row["answerer"] = "player" if row["value_kind"] == "likelihood" else None
    assert audited(made, answerers)["fidelity", "spearman", "likelihood, shapley"].estimate.n == 9


def test_different_games_are_never_pooled(made: Any) -> None:
    made.game("t", {"a": 0.1, "b": 0.2})
    made.game("t", {"a": 0.1, "b": 0.2}, masking="drop")
    made.game("t", {"a": 0.1, "b": 0.2}, value_kind="recount", masking=None)
    scopes = set(masked_games(made.frame("games"))["scope"])
    assert scopes == {"likelihood masking=placeholder", "likelihood masking=drop", "recount"}


def test_an_agent_replayed_twice_has_the_longer_replay(made: Any) -> None:
    made.replay("t", "a", 3, "11", "00")
    made.rows["games"][-1]["game_id"] = made.rows["credits"][-1]["game_id"] = "short"
    made.replay("t", "a", 3, "1000", "0000")
    found = replayed(made.frame("games"), made.frame("credits")).to_dicts()
    assert found == [{"trajectory_id": "t", "player": "a", "branch": 3, "k": 4, "difference": 0.25}]


def test_of_two_equal_replays_or_games_the_same_one_counts_whatever_the_order(made: Any) -> None:
    made.replay("t", "a", 3, "1111", "0000")
    made.rows["games"][-1]["game_id"] = made.rows["credits"][-1]["game_id"] = "other"
    made.replay("t", "a", 3, "1000", "0000")
    made.game("t", {"a": 0.25, "b": 0.5}, seed=1)
    made.game("t", {"a": 0.75, "b": 0.5}, seed=2)
    games, credits = made.frame("games"), made.frame("credits")
    for some in (games, games.reverse()):
        for rows in (credits, credits.reverse()):
            assert replayed(some, rows)["difference"].to_list() == [1.0]
            masked = masked_credits(masked_games(some), rows).filter(method="shapley", player="a")
            assert masked["credit"].to_list() == [0.25]


def test_exact_credit_goes_before_sampled_and_zeros_are_zeros(made: Any) -> None:
    made.game("t", {"a": 0.25, "b": 1e-15})
    exact = list(made.rows["credits"])
    made.rows["credits"] += [row | {"estimator": "permutation", "credit": 0.9} for row in exact]
    masked = masked_credits(masked_games(made.frame("games")), made.frame("credits"))
    assert masked.filter(method="shapley")["credit"].to_list() == [0.25, 0.0]
    made.rows["credits"] = [row | {"estimator": "loo", "efficient": False} for row in exact]
    masked = masked_credits(masked_games(made.frame("games")), made.frame("credits"))
    assert set(masked["method"]) == {"loo"}


def test_nothing_replayed_is_said(made: Any) -> None:
    made.game("t", {"a": 0.1, "b": 0.2})
    found = audited(made)
    assert {one.estimate.value for one in found.values() if one.metric != "answering_agents_left_out"} == {None}
    assert found["fidelity", "spearman", "likelihood, shapley"].estimate.note == "nothing was replayed"
