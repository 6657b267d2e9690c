"""Permutation sampling: conserved, exact in the limit, honest about its error."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from estimates import estimated
from hypothesis import given
from hypothesis import strategies as st

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit import exact, permutation


def test_all_orders_give_the_exact_value():
    values = np.random.default_rng(0).random((5, 16))
    half = [order for order in permutations(range(4)) if order < order[::-1]]
    plan = permutation.plan_orders([each for order in half for each in (order, order[::-1])])
    assert len(plan.orders) == 24
    estimate = estimated(values[:, plan.masks], plan)
    assert estimate.credit == pytest.approx(exact.shapley(values), abs=1e-12)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000))
def test_plan_values_each_coalition_once(n, pairs, seed):
    plan = permutation.plan(n, pairs, seed)
    masks = plan.masks.tolist()
    assert len(set(masks)) == len(masks) <= 2 + n + 2 * pairs * (n - 1)
    assert masks[0] == 2**n - 1
    assert {(2**n - 1) ^ (1 << i) for i in range(n)} <= set(masks)
    assert (plan.orders[1::2] == plan.orders[::2, ::-1]).all()
    for order, prefix in zip(plan.orders.tolist(), plan.prefixes.tolist(), strict=True):
        assert [masks[p] for p in prefix] == [sum(1 << i for i in order[:j]) for j in range(n + 1)]


@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 1000))
def test_conserved_at_any_budget(n, pairs, seed):
    plan = permutation.plan(n, pairs, seed)
    values = np.random.default_rng(seed).random((3, plan.budget))
    credit = estimated(values, plan).credit
    full, empty = values[:, 0], values[:, plan.masks.tolist().index(0)]
    assert credit.sum(axis=1) == pytest.approx(full - empty, abs=1e-12)


@given(st.integers(1, 7), st.integers(1, 6), st.integers(0, 1000), st.data())
def test_additive_and_nothing_for_no_effect(n, pairs, seed, data):
    player = data.draw(st.integers(0, n - 1))
    plan = permutation.plan(n, pairs, seed)
    first, second = np.random.default_rng(seed).random((2, 3, 1 << n))
    idle = first[:, np.arange(1 << n) & ~(1 << player)]

    def credit(values: np.ndarray) -> np.ndarray:
        return estimated(values[:, plan.masks], plan).credit

    assert credit(idle)[:, player] == pytest.approx(0, abs=1e-12)
    assert credit(first + 2 * second) == pytest.approx(credit(first) + 2 * credit(second), abs=1e-12)


def test_the_mean_over_plans_is_the_exact_value():
    values = np.random.default_rng(8).random((4, 32))
    seen = []
    for seed in range(600):
        plan = permutation.plan(5, 1, seed)
        seen.append(estimated(values[:, plan.masks], plan).credit)
    error = np.std(seen, axis=0, ddof=1) / np.sqrt(len(seen))
    assert (np.abs(np.mean(seen, axis=0) - exact.shapley(values)) < 4 * error).all()


def test_more_pairs_begin_with_the_same_ones():
    short, long = permutation.plan(7, 3, 5), permutation.plan(7, 9, 5)
    assert (long.orders[: len(short.orders)] == short.orders).all()
    assert long.masks[: short.budget].tolist() == short.masks.tolist()
    assert (permutation.plan(7, 3, 6).orders != short.orders).any()


def test_budget_is_kept_and_used():
    plan = permutation.plan_within(9, 100, 1)
    assert plan.budget <= 100 < permutation.plan(9, plan.pairs + 1, 1).budget
    with pytest.raises(UserError, match="raise the budget"):
        permutation.plan_within(9, 12, 1)


def test_standard_error_is_that_of_the_pair_means():
    plan = permutation.plan(6, 20, 3)
    values = np.random.default_rng(1).random((2, 64))
    pair_means = np.stack(
        [
            estimated(values[:, p.masks], p).credit
            for p in (permutation.plan_orders(plan.orders[2 * k : 2 * k + 2]) for k in range(20))
        ]
    )
    expected = pair_means.std(axis=0, ddof=1) / np.sqrt(20)
    assert estimated(values[:, plan.masks], plan).stderr == pytest.approx(expected)


def test_the_interval_covers_the_exact_value():
    values = np.random.default_rng(4).random((200, 64))
    truth = exact.shapley(values)
    hits = []
    for seed in range(10):
        plan = permutation.plan(6, 24, seed)
        estimate = estimated(values[:, plan.masks], plan)
        hits.append((estimate.ci_low <= truth) & (truth <= estimate.ci_high))
    assert 0.93 < np.mean(hits) < 0.97


def test_no_interval_from_few_pairs():
    few, one = permutation.plan(5, 15, 0), permutation.plan(5, 1, 0)
    values = np.random.default_rng(2).random((1, 32))
    estimate = estimated(values[:, few.masks], few)
    assert np.isfinite(estimate.stderr).all()
    assert np.isnan(estimate.ci_low).all()
    assert np.isnan(estimated(values[:, one.masks], one).stderr).all()


@pytest.mark.parametrize(("degrees", "table"), [(15, 2.131450), (30, 2.042272), (100, 1.983972)])
def test_student_t_against_the_printed_table(degrees, table):
    assert permutation.student_t(degrees) == pytest.approx(table, abs=1e-5)


def test_two_players_are_exact():
    plan = permutation.plan(2, 16, 0)
    values = np.array([[0.1, 0.5, 0.2, 0.9]])
    estimate = estimated(values[:, plan.masks], plan)
    assert estimate.credit == pytest.approx(exact.shapley(values))
    assert estimate.stderr == pytest.approx(0, abs=1e-12)


def test_wrong_use_is_refused():
    with pytest.raises(UserError, match="pairs = 0"):
        permutation.plan(3, 0, 0)
    with pytest.raises(UserError, match="63 players"):
        permutation.plan(63, 1, 0)
    with pytest.raises(ValueError, match="pairs"):
        permutation.plan_orders([[0, 1]])
    with pytest.raises(ValueError, match="permutation of 0..1"):
        permutation.plan_orders([[0, 0], [0, 0]])
    with pytest.raises(ValueError, match="degrees"):
        permutation.student_t(3)
