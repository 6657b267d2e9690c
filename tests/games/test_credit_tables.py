"""The tables of solved games: pairs in the game's own order, games solved each in its own way."""

from __future__ import annotations

import polars as pl
import pytest

from apportion import schemas
from apportion.pipeline.credit.exact import Exact
from apportion.pipeline.credit.loo import LeaveOneOut
from apportion.pipeline.credit.owen import Owen
from apportion.pipeline.games.game import Game, Rules
from apportion.pipeline.games.tables import Planned, credit_table, interaction_table, message_table

RULES = Rules("likelihood", "s", "outcome")
WORTH = {"or": (0.0, 1.0, 1.0, 1.0), "and": (0.0, 0.0, 0.0, 1.0)}
TURNS = pl.DataFrame(
    {
        "trajectory_id": ["or"] * 3,
        "message_index": pl.Series([1, 2, 3], dtype=pl.Int32),
        "agent": ["planner", "worker", "planner"],
        "text": ["ask", "Kelwick it is", "answer: Kelwick"],
        "is_outcome": [False, False, True],
    }
)


def planned(name: str, players: tuple[str, ...], estimator: Exact | LeaveOneOut | Owen, kind: str = "agent") -> Planned:
    agents = ("planner", "worker") if kind == "message" else players
    game = Game(f"{name}-{kind}", name, "t", players, RULES, "x", kind, agents, {"worker": "helper"})
    return Planned(game, estimator)


def valued(*played: Planned) -> pl.DataFrame:
    kept = ("00", "10", "01", "11")
    rows = [
        {"game_id": one.game.game_id, "trajectory_id": one.game.trajectory_id, "kept": mask, "value": value}
        for one in played
        for mask, value in zip(kept, WORTH[one.game.trajectory_id], strict=True)
    ]
    made = pl.from_arrow(schemas.TABLES["coalitions"].from_rows(rows))
    assert isinstance(made, pl.DataFrame)
    return made


def test_interactions_of_or_and_and_games_by_hand():
    games = planned("or", ("planner", "worker"), Exact()), planned("and", ("a", "b"), Exact())
    table = schemas.TABLES["interactions"].conform(interaction_table(games, valued(*games)))
    found = {(row["game_id"], row["player_a"], row["player_b"]): row["value"] for row in table.to_pylist()}
    assert found == {
        ("or-agent", "planner", "worker"): pytest.approx(-1.0),
        ("and-agent", "a", "b"): pytest.approx(1.0),
    }


def test_only_exactly_solved_games_have_interactions():
    games = (planned("or", ("planner", "worker"), LeaveOneOut()),)
    assert interaction_table(games, valued(*games)).num_rows == 0


def test_every_game_is_solved_by_its_own_estimator():
    games = planned("or", ("planner", "worker"), Exact()), planned("and", ("a", "b"), LeaveOneOut())
    rows = credit_table(games, valued(*games)).to_pylist()
    found = {(row["trajectory_id"], row["player"]): (row["credit"], row["estimator"], row["role"]) for row in rows}
    assert found == {
        ("or", "planner"): (0.5, "exact", None),
        ("or", "worker"): (0.5, "exact", "helper"),
        ("and", "a"): (1.0, "loo", None),
        ("and", "b"): (1.0, "loo", None),
    }


def test_messages_that_were_players_have_their_own_credit():
    games = (
        planned("or", ("planner", "worker"), Exact()),
        planned("or", ("1", "2"), Owen(("planner", "worker")), "message"),
    )
    rows = message_table(games, credit_table(games, valued(*games)), TURNS).to_pylist()
    assert [(row["message_index"], row["credit"], row["estimator"], row["game_id"]) for row in rows] == [
        (1, 0.5, "owen", "or-message"), (2, 0.5, "owen", "or-message"), (3, None, "owen", "or-message"),
    ]  # fmt: skip


def test_elsewhere_the_agents_credit_is_shared_out():
    games = (planned("or", ("planner", "worker"), Exact()),)
    rows = message_table(games, credit_table(games, valued(*games)), TURNS).to_pylist()
    assert [(row["message_index"], row["credit"], row["estimator"]) for row in rows] == [
        (1, 0.5, "exact"), (2, 0.5, "exact"), (3, None, "exact"),
    ]  # fmt: skip


def test_no_games_give_empty_tables():
    empty = valued()
    assert interaction_table([], empty).num_rows == 0
    assert credit_table([], empty).column_names[-1] == "estimator"
    assert message_table([], credit_table([], empty), TURNS).num_rows == 0
