"""Owen values: messages share what their agent earns among the agents."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, permutations

import numpy as np
import polars as pl
import pytest
from estimates import estimated
from hypothesis import given
from hypothesis import strategies as st

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit import exact, owen, solve

structures = st.lists(st.sampled_from("abc"), min_size=1, max_size=6).map(tuple)


def by_owen(values_GM: np.ndarray, unions: Sequence[str]) -> np.ndarray:
    return values_GM @ owen.plan(tuple(unions)).weights


def whole_unions(unions: Sequence[str]) -> list[int]:
    """The coalitions of whole unions, in the order of bitmasks of unions."""
    bits = [sum(1 << k for k in group) for group in owen.members(unions)]
    return [sum(bit for place, bit in enumerate(bits) if chosen >> place & 1) for chosen in range(1 << len(bits))]


def test_gloves_by_hand():
    """Left glove 0, right gloves 1 and 2; 0 and 1 are one agent.

    Four orders keep them together: 1 completes the pair in 0 1 2; 0 does in 1 0 2, 2 0 1 and 2 1 0.
    """
    plan = owen.plan(("x", "x", "y"))
    values = np.array([[float(s & 1 and s & 6 != 0) for s in plan.masks]])
    assert by_owen(values, ("x", "x", "y")) == pytest.approx(np.array([[0.75, 0.25, 0.0]]))


@given(structures, st.integers(0, 1000))
def test_messages_of_an_agent_sum_to_its_shapley_value(unions, seed):
    values = np.random.default_rng(seed).random((2, 1 << len(unions)))
    credit = by_owen(values[:, owen.plan(unions).masks], unions)
    agents = exact.shapley(values[:, whole_unions(unions)])
    sums = np.stack([credit[:, group].sum(axis=1) for group in owen.members(unions)], axis=1)
    assert sums == pytest.approx(agents, abs=1e-12)
    assert credit.sum(axis=1) == pytest.approx(values[:, -1] - values[:, 0], abs=1e-12)


@given(structures, st.integers(0, 1000))
def test_equals_the_mean_over_orders_that_keep_unions_together(unions, seed):
    values = np.random.default_rng(seed).random((1, 1 << len(unions)))
    total, count = np.zeros(len(unions)), 0
    for order in permutations(range(len(unions))):
        labels = [unions[k] for k in order]
        if sum(a != b for a, b in pairwise(labels)) != len(set(labels)) - 1:
            continue
        count += 1
        for j, player in enumerate(order):
            before = sum(1 << k for k in order[:j])
            total[player] += values[0, before | 1 << player] - values[0, before]
    credit = by_owen(values[:, owen.plan(unions).masks], unions)
    assert credit[0] == pytest.approx(total / count, abs=1e-12)


@pytest.mark.parametrize("unions", [("a", "a", "a", "a"), ("a", "b", "c", "d")])
def test_trivial_unions_give_the_shapley_value(unions):
    values = np.random.default_rng(0).random((3, 16))
    assert by_owen(values[:, owen.plan(unions).masks], unions) == pytest.approx(exact.shapley(values))


@given(structures, st.integers(0, 1000), st.data())
def test_a_message_without_effect_earns_nothing(unions, seed, data):
    player = data.draw(st.integers(0, len(unions) - 1))
    values = np.random.default_rng(seed).random((2, 1 << len(unions)))[:, np.arange(1 << len(unions)) & ~(1 << player)]
    credit = by_owen(values[:, owen.plan(unions).masks], unions)
    assert credit[:, player] == pytest.approx(0, abs=1e-12)


@given(st.lists(st.sampled_from("abc"), max_size=4), st.integers(0, 1000))
def test_interchangeable_messages_of_an_agent_earn_the_same(others, seed):
    unions = ("a", "a", *others)
    masks = np.arange(1 << len(unions))
    swapped = (masks & ~3) | (masks & 1) << 1 | (masks >> 1) & 1
    values = np.random.default_rng(seed).random((2, len(masks)))
    values = (values + values[:, swapped]) / 2
    credit = by_owen(values[:, owen.plan(unions).masks], unions)
    assert credit[:, 0] == pytest.approx(credit[:, 1], abs=1e-12)


@given(structures, st.integers(0, 1000))
def test_owen_is_additive(unions, seed):
    rng, masks = np.random.default_rng(seed), owen.plan(unions).masks
    first, second = rng.random((2, 3, len(masks)))
    together = by_owen(first + 2 * second, unions)
    assert together == pytest.approx(by_owen(first, unions) + 2 * by_owen(second, unions), abs=1e-12)


@given(structures)
def test_the_number_of_coalitions_is_known_beforehand(unions):
    assert owen.coalition_count(unions) == len(owen.plan(unions).masks)


def test_needs_fewer_coalitions_than_the_power_set():
    assert len(owen.plan(tuple("aaabbbccc")).masks) < 100 < 2**9


def test_sampled_variant_is_unbiased_and_conserved():
    unions = tuple("aabbbc")
    values = np.random.default_rng(3).random((40, 64))
    truth = by_owen(values[:, owen.plan(unions).masks], unions)
    plan = owen.sampled_plan(unions, 400, 0)
    estimate = estimated(values[:, plan.masks], plan)
    assert estimate.credit.sum(axis=1) == pytest.approx(values[:, -1] - values[:, 0], abs=1e-12)
    inside = (estimate.ci_low <= truth) & (truth <= estimate.ci_high)
    assert inside.mean() > 0.9
    assert np.abs(estimate.credit - truth).max() < 0.1


def test_sampled_orders_keep_unions_together():
    unions = tuple("abcabca")
    plan = owen.sampled_plan(unions, 20, 1)
    assert (plan.orders[1::2] == plan.orders[::2, ::-1]).all()
    for order in plan.orders.tolist():
        labels = [unions[k] for k in order]
        assert sum(a != b for a, b in pairwise(labels)) == 2


def test_solves_tables():
    unions = ("x", "x", "y")
    plan = owen.plan(unions)
    table = pl.DataFrame(
        {
            "game_id": "g",
            "kept": [solve.kept_of(int(s), 3) for s in plan.masks],
            "value": [float(s & 1 and s & 6 != 0) for s in plan.masks.tolist()],
            "stderr": pl.Series([None] * len(plan.masks), dtype=pl.Float64),
        }
    )
    credits = solve.solve(table, owen.Owen(unions))
    assert credits["credit"].to_list() == pytest.approx([0.75, 0.25, 0.0])
    assert credits["loo"].to_list() == [1.0, 0.0, 0.0]
    assert credits["estimator"].unique().to_list() == ["owen"]
    with pytest.raises(UserError, match="unions for 2"):
        solve.solve(table, owen.Owen(("x", "y")))


def test_too_many_coalitions_are_refused():
    with pytest.raises(UserError, match="sample instead"):
        owen.plan(tuple("a" * 17))
    with pytest.raises(UserError, match="pairs = 0"):
        owen.sampled_plan(("a",), 0, 0)
