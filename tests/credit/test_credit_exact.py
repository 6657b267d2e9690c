"""Exact Shapley values and leave-one-out: worked games, the axioms, and the definition itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit import exact, loo

OR = np.array([[0.0, 1.0, 1.0, 1.0]])
AND = np.array([[0.0, 0.0, 0.0, 1.0]])


def games(n: int, seed: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 1 << n))


seeds = st.integers(0, 2**32 - 1)


def test_either_player_suffices():
    assert exact.shapley(OR) == pytest.approx(np.array([[0.5, 0.5]]))
    assert loo.leave_one_out(OR).tolist() == [[0.0, 0.0]]


def test_both_players_are_needed():
    assert exact.shapley(AND) == pytest.approx(np.array([[0.5, 0.5]]))
    assert loo.leave_one_out(AND).tolist() == [[1.0, 1.0]]


def test_gloves_by_hand():
    """Player 0 has the left glove, 1 and 2 a right one each: (2/3, 1/6, 1/6)."""
    values = np.array([[float(s & 1 and s & 6 != 0) for s in range(8)]])
    assert exact.shapley(values) == pytest.approx(np.array([[2 / 3, 1 / 6, 1 / 6]]))


def test_bit_i_is_player_i():
    only_player_2 = np.array([[float(s >> 2 & 1) for s in range(8)]])
    assert exact.shapley(only_player_2) == pytest.approx(np.array([[0.0, 0.0, 1.0]]))
    assert loo.leave_one_out(only_player_2).tolist() == [[0.0, 0.0, 1.0]]


def test_one_player_and_none():
    assert exact.shapley(np.array([[0.25, 0.75]])).tolist() == [[0.5]]
    assert loo.leave_one_out(np.array([[0.25, 0.75]])).tolist() == [[0.5]]
    assert exact.shapley(np.array([[0.25]])).shape == (1, 0)
    assert loo.leave_one_out(np.array([[0.25]])).shape == (1, 0)


@pytest.mark.parametrize("n", range(7))
def test_equals_the_definition(n, by_definition):
    values = games(n, n)
    assert exact.shapley(values) == pytest.approx(by_definition(values), abs=1e-12)


@given(st.integers(0, 8), seeds)
def test_efficient_and_bounded(n, seed):
    values = games(n, seed)
    credit = exact.shapley(values)
    assert credit.sum(axis=1) == pytest.approx(values[:, -1] - values[:, 0], abs=1e-12)
    assert (np.abs(credit) <= 1).all()


@given(st.integers(2, 6), seeds)
def test_interchangeable_players_earn_the_same(n, seed):
    values = games(n, seed)
    masks = np.arange(1 << n)
    swapped = (masks & ~3) | (masks & 1) << 1 | (masks >> 1) & 1
    credit = exact.shapley((values + values[:, swapped]) / 2)
    assert credit[:, 0] == pytest.approx(credit[:, 1], abs=1e-12)


@given(st.integers(1, 6), seeds, st.data())
def test_a_player_without_effect_earns_nothing(n, seed, data):
    player = data.draw(st.integers(0, n - 1))
    values = games(n, seed)[:, np.arange(1 << n) & ~(1 << player)]
    assert exact.shapley(values)[:, player] == pytest.approx(0, abs=1e-12)


@given(st.integers(0, 6), seeds)
def test_additive(n, seed):
    first, second = games(n, seed), games(n, seed + 1)
    together = exact.shapley(first + 2 * second)
    assert together == pytest.approx(exact.shapley(first) + 2 * exact.shapley(second), abs=1e-12)


def test_sixteen_players_and_no_more():
    size = exact.sizes(16)[None, :] / 16
    assert exact.shapley(size) == pytest.approx(np.full((1, 16), 1 / 16))
    with pytest.raises(UserError, match="17 players"):
        exact.weights(17)


def test_not_a_power_set():
    with pytest.raises(ValueError, match="power set"):
        exact.shapley(np.zeros((1, 6)))


@settings(max_examples=5)
@given(seeds)
def test_variance_is_what_resampled_values_show(seed):
    rng = np.random.default_rng(seed)
    stderr = rng.uniform(0.01, 0.2, 8)
    credit = exact.shapley(0.5 + rng.normal(size=(20_000, 8)) * stderr)
    assert credit.var(axis=0) == pytest.approx(stderr**2 @ exact.weights(3) ** 2, rel=0.08)


def test_variance_by_hand():
    """Two players, Var v = 1 each: four values weighted by 1/2 each."""
    assert (np.ones(4) @ exact.weights(2) ** 2).tolist() == [1.0, 1.0]
