"""Pairwise interactions: redundant pairs below zero, complementary pairs above."""

from __future__ import annotations

from math import factorial

import numpy as np
import polars as pl
import pytest

from apportion.pipeline.credit import interactions, solve

OR = [0.0, 1.0, 1.0, 1.0]
AND = [0.0, 0.0, 0.0, 1.0]


def test_sign_convention():
    assert interactions.interaction(np.array([OR, AND])).tolist() == [[-1.0], [1.0]]


def test_independent_players_do_not_interact():
    worth = np.array([0.1, 0.2, 0.3])
    values = np.array([[sum(worth[i] for i in range(3) if s >> i & 1) for s in range(8)]])
    assert interactions.interaction(values) == pytest.approx(0, abs=1e-12)


def test_equals_the_definition():
    n, values = 5, np.random.default_rng(0).random((2, 32))
    fast = interactions.interaction(values)
    for column, (i, j) in enumerate(interactions.pairs(n)):
        expected = np.zeros(2)
        for s in range(1 << n):
            if s >> i & 1 or s >> j & 1:
                continue
            share = factorial(s.bit_count()) * factorial(n - s.bit_count() - 2) / factorial(n - 1)
            second = values[:, s | 1 << i | 1 << j] - values[:, s | 1 << i] - values[:, s | 1 << j] + values[:, s]
            expected += share * second
        assert fast[:, column] == pytest.approx(expected, abs=1e-12)


def test_small_games_have_no_pairs():
    assert interactions.interaction(np.zeros((3, 2))).shape == (3, 0)
    assert interactions.interaction(np.zeros((3, 1))).shape == (3, 0)


def test_table():
    """Players 0 and 2 are redundant, 1 matters alone; the second game has one player and no pair."""
    values = [float(bool(s & 5)) / 2 + float(bool(s & 2)) / 2 for s in range(8)]
    table = pl.DataFrame(
        {
            "game_id": ["g"] * 8 + ["h"] * 2,
            "kept": [solve.kept_of(s, 3) for s in range(8)] + ["0", "1"],
            "value": [*values, 0.0, 1.0],
            "stderr": pl.Series([None] * 10, dtype=pl.Float64),
        }
    )
    rows = interactions.solve_pairs(table)
    assert rows.select("game_id", "a_index", "b_index").rows() == [("g", 0, 1), ("g", 0, 2), ("g", 1, 2)]
    assert rows["value"].to_list() == pytest.approx([0.0, -0.5, 0.0])
    assert set(rows["index"]) == {"shapley_interaction"}
    assert interactions.solve_pairs(table.clear()).schema == rows.schema
