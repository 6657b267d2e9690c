"""Bayesian quadrature: conserved, exact where the prior is sure, weights that follow from the prior alone."""

from __future__ import annotations

import numpy as np
import pytest
from estimates import estimated
from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit import exact, loo, permutation, quadrature
from apportion.pipeline.credit.prompt import ALWAYS, Prompt
from apportion.pipeline.credit.quadrature import Quadrature

seeds = st.integers(0, 3)


def games(n: int, seed: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 1 << n))


def credit(method: Quadrature, values_GS: np.ndarray) -> np.ndarray:
    n = values_GS.shape[1].bit_length() - 1
    return values_GS[:, method.coalitions(n)] @ method.weights(n)


@given(st.integers(0, 9), st.integers(20, 90), seeds)
def test_conserved_within_the_budget(n, budget, seed):
    method, values = Quadrature(budget, seed), games(n, seed)
    masks = method.coalitions(n).tolist()
    assert len(set(masks)) == len(masks) <= budget
    assert {0, *loo.coalitions(n).tolist()} <= set(masks)
    assert credit(method, values).sum(axis=1) == pytest.approx(values[:, -1] - values[:, 0], abs=1e-12)


@given(st.integers(0, 6), seeds)
def test_every_coalition_valued_is_the_exact_value(n, seed):
    values = games(n, seed)
    method = Quadrature(64, seed)
    assert credit(method, values) == pytest.approx(exact.shapley(values), abs=1e-12)
    assert (method.variance(values[:, method.coalitions(n)], n) == 0).all()


@given(seeds, st.integers(0, 100))
def test_individual_and_pairwise_effects_are_exact(seed, game):
    """Weights w_i and synergies p_ij: the Shapley value is w_i plus half of each synergy, at the least budget."""
    n, rng = 7, np.random.default_rng(game)
    alone, both = rng.random(n), np.triu(rng.normal(size=(n, n)), 1)
    bits = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1
    values = (bits @ alone + np.einsum("si,ij,sj->s", bits, both, bits))[None]
    expected = alone + (both.sum(axis=0) + both.sum(axis=1)) / 2
    assert credit(Quadrature(16, seed), values)[0] == pytest.approx(expected, abs=1e-9)


@given(seeds)
def test_additive(seed):
    method, first, second = Quadrature(40, seed), games(7, seed), games(7, seed + 1)
    together = credit(method, first + 2 * second)
    assert together == pytest.approx(credit(method, first) + 2 * credit(method, second), abs=1e-12)


def test_either_suffices_and_both_needed():
    """Two players: 1/2 each way, from all four coalitions."""
    values = np.array([[0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    assert credit(Quadrature(4), values) == pytest.approx(np.full((2, 2), 0.5))


def test_prior_against_the_whole_power_set():
    """Covariances by summing over all 2**5 coalitions, and weights as the posterior mean with a huge additive part."""
    n, budget = 5, 20
    masks = np.arange(1 << n)
    distance = exact.sizes(n)[masks[:, None] ^ masks]
    value_cov = 0.7 * np.exp(-10 * distance / n) + 0.3 * (distance == 0) + 1e5 * (1 - 2 * distance / n)
    chosen = quadrature.coalitions(n, budget, 3)
    odd = np.zeros((len(chosen) // 2, 1 << n))
    odd[np.arange(len(odd)), chosen[::2]], odd[np.arange(len(odd)), chosen[1::2]] = 1.0, -1.0
    shapley = exact.weights(n)
    posterior = np.linalg.solve(odd @ value_cov @ odd.T, odd @ value_cov @ shapley)
    plan = quadrature.plan(n, budget, 3)
    assert plan.weights[::2] == pytest.approx(posterior, abs=1e-4)
    left = odd.T @ plan.weights[::2] - shapley
    assert plan.error == pytest.approx((left**2).sum(axis=0), abs=1e-12)


def test_the_choice_beats_chance():
    """At 24 of 128 coalitions, the pairs chosen leave less error than random pairs do with permutations."""
    values = games(7, 5, 300)
    truth = exact.shapley(values)
    sampled = permutation.plan_within(7, 40, 0)
    by_orders = estimated(values[:, sampled.masks], sampled).credit
    error = np.square(credit(Quadrature(40), values) - truth).mean()
    assert error < 0.5 * np.square(by_orders - truth).mean()


def test_the_interval_covers_independent_values():
    values = games(8, 1, 400)
    truth = exact.shapley(values)
    for budget in (64, 128):
        method = Quadrature(budget)
        at = values[:, method.coalitions(8)]
        half = np.sqrt(method.variance(at, 8)) * method.critical(8)
        assert 0.93 < (np.abs(credit(method, values) - truth) <= half).mean() < 0.97


def test_no_interval_from_few_coalitions():
    assert np.isnan(Quadrature(14).critical(6))
    assert np.isnan(Quadrature(40).critical(6))  # 20 pairs less 6 players
    assert np.isfinite(Quadrature(42).critical(6))


@settings(max_examples=20)
@given(st.integers(3, 20), st.integers(42, 120), st.integers(1, 80), seeds)
def test_more_budget_begins_with_the_same_coalitions(n, budget, more, seed):
    short, long = quadrature.coalitions(n, budget, seed), quadrature.coalitions(n, budget + more, seed)
    assert long[: len(short)].tolist() == short.tolist()


def test_many_players():
    method = Quadrature(300, 1)
    masks = method.coalitions(62)
    assert len(set(masks.tolist())) == 300
    worth = np.arange(62.0)
    values = (((masks[:, None] >> np.arange(62)) & 1) @ worth)[None]
    assert (values @ method.weights(62))[0] == pytest.approx(worth, abs=1e-6)
    assert (quadrature.coalitions(62, 300, 2) != masks).any()


def test_refusals():
    with pytest.raises(UserError, match="63 players"):
        quadrature.coalitions(63, 1000)
    with pytest.raises(UserError, match="6 players need at least 14 coalitions, the budget is 13"):
        quadrature.coalitions(6, 13)


def test_prompt_tokens_by_hand():
    """Task 10, players 0 and 1 of 5 and 7 tokens, the first again with 3, cue 2; placeholder 1."""
    prompt = Prompt(((ALWAYS, 10), (0, 5), (1, 7), (0, 3), (ALWAYS, 2)), placeholder=1)
    masks = np.array([3, 1, 0])
    assert prompt.lengths(masks).tolist() == [[10, 5, 7, 3, 2], [10, 5, 1, 3, 2], [10, 1, 1, 1, 2]]
    assert prompt.shared(3, masks).tolist() == [5, 2, 1]
    assert prompt.distinct(masks) == 27 + (1 + 3 + 2) + (1 + 1 + 1 + 2)
    assert prompt.distinct(np.array([3, 3])) == 27


def test_shared_prompts_buy_more_coalitions():
    prompt = Prompt(((ALWAYS, 50), *((player, 100) for player in range(10)), (ALWAYS, 10)))
    plain, sharing = Quadrature(100).coalitions(10), Quadrature(100, prompt=prompt).coalitions(10)
    assert len(sharing) == len(plain)
    assert prompt.distinct(sharing) < 0.8 * prompt.distinct(plain)
    values = games(10, 0)
    assert credit(Quadrature(100, prompt=prompt), values).sum(axis=1) == pytest.approx(values[:, -1] - values[:, 0])
