"""The interactions table names the pair in the game's own order and keeps the solver's sign."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import schemas
from pipeline.stages.annotate import interaction_table


def test_or_and_and_games_by_hand():
    games = [
        SimpleNamespace(game_id="or", trajectory_id="t1", players=("planner", "worker")),
        SimpleNamespace(game_id="and", trajectory_id="t2", players=("a", "b")),
    ]
    worth = {"or": (0.0, 1.0, 1.0, 1.0), "and": (0.0, 0.0, 0.0, 1.0)}
    kept = ("00", "10", "01", "11")
    coalitions = schemas.TABLES["coalitions"].from_rows(
        [
            {"game_id": game.game_id, "trajectory_id": game.trajectory_id, "kept": mask, "value": value}
            for game in games
            for mask, value in zip(kept, worth[game.game_id], strict=True)
        ]
    )
    table = schemas.TABLES["interactions"].conform(interaction_table(games, coalitions))
    found = {(row["game_id"], row["player_a"], row["player_b"]): row["value"] for row in table.to_pylist()}
    assert found == {("or", "planner", "worker"): pytest.approx(-1.0), ("and", "a", "b"): pytest.approx(1.0)}


def test_no_games_give_an_empty_table():
    empty = schemas.TABLES["coalitions"].from_rows([])
    assert interaction_table([], empty).num_rows == 0
