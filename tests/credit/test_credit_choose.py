"""The estimator that a game gets: by name, players and budget."""

from __future__ import annotations

import numpy as np
import pytest

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit import owen
from apportion.pipeline.credit.choose import NAMES, chosen, possible, within_tokens
from apportion.pipeline.credit.exact import Exact
from apportion.pipeline.credit.loo import LeaveOneOut
from apportion.pipeline.credit.prompt import ALWAYS, Prompt
from apportion.pipeline.credit.quadrature import Quadrature

UNIONS = tuple("aaabbbccc")


def test_auto_is_exact_where_it_fits():
    assert chosen("auto", 10, 1024, None, 0) == Exact()
    assert chosen("auto", 10, 1023, None, 7) == Quadrature(1023, 7)
    assert chosen("auto", 17, 1 << 20, None, 0) == Quadrature(1 << 20)
    assert chosen("auto", 0, 1, None, 0) == Exact()


def test_messages_get_the_owen_value():
    assert chosen("auto", 9, 80, UNIONS, 0) == owen.Owen(UNIONS)
    sampled = chosen("auto", 9, 79, UNIONS, 0)
    assert isinstance(sampled, owen.SampledOwen)
    assert len(sampled.coalitions(9)) <= 79 < len(owen.SampledOwen(UNIONS, sampled.pairs + 1).coalitions(9))
    assert chosen("owen", 9, 80, UNIONS, 0) == chosen("auto", 9, 80, UNIONS, 0)
    assert chosen("exact", 9, 512, UNIONS, 0) == Exact()


AGENTS = tuple("aabbcdddee")
POSSIBLE = [
    (name, unions, budget)
    for name in NAMES
    for unions in (None, AGENTS)
    for budget in (60, 1024)
    if (name, budget) != ("exact", 60) and (name, unions) != ("owen", None)
]


@pytest.mark.parametrize(("name", "unions", "budget"), POSSIBLE)
def test_within_the_budget_and_named_as_announced(name, unions, budget):
    found = chosen(name, 10, budget, unions, 0)
    assert len(found.coalitions(10)) <= budget
    assert found.name in possible(name, unions is not None)
    assert found == chosen(name, 10, budget, unions, 0)


def test_leave_one_out():
    assert chosen("loo", 1, 2, None, 0) == LeaveOneOut()
    with pytest.raises(UserError, match="'loo': 4 players need 5 coalitions, the budget is 4; raise"):
        chosen("loo", 4, 4, None, 0)


@pytest.mark.parametrize(
    ("name", "n", "budget", "unions", "message"),
    [
        ("exact", 11, 1024, None, "11 players need 2048 coalitions, the budget is 1024; raise the budget"),
        ("exact", 17, 1 << 20, None, "at most 16 players"),
        ("auto", 12, 25, None, "12 players need 26 coalitions, the budget is 25"),
        ("auto", 9, 20, UNIONS, "'owen': 9 players need .* the budget is 20"),
        ("permutation", 9, 12, None, "the budget is 12"),
        ("owen", 9, 1024, None, "messages as players"),
        ("owen", 8, 1024, UNIONS, "8 players, but unions for 9"),
        ("auto", 63, 1024, None, "63 players, at most 62"),
        ("banzhaf", 3, 8, None, "choose one of auto, exact"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(name, n, budget, unions, message):
    with pytest.raises(UserError, match=message) as refused:
        chosen(name, n, budget, unions, 0)
    assert "\n" not in str(refused.value)


PROMPT = Prompt(((ALWAYS, 40), *((player, 100) for player in range(9)), (ALWAYS, 10)))


@pytest.mark.parametrize("name", ["auto", "permutation"])
def test_tokens_are_kept_and_used(name):
    found = within_tokens(15_000, PROMPT, name, 9, 500, None, 0)
    assert 0.8 * 15_000 < PROMPT.distinct(found.coalitions(9)) <= 15_000
    assert len(found.coalitions(9)) < 500


def test_tokens_to_spare_and_too_few():
    assert within_tokens(10**6, PROMPT, "auto", 9, 512, None, 0) == Exact()
    assert within_tokens(10**6, PROMPT, "auto", 9, 100, None, 0) == Quadrature(100, 0, PROMPT)
    with pytest.raises(UserError, match="no plan for 9 players costs at most 900 tokens and 512 coalitions"):
        within_tokens(900, PROMPT, "auto", 9, 512, None, 0)
    with pytest.raises(UserError, match="choose one of"):
        within_tokens(10**6, PROMPT, "banzhaf", 9, 512, None, 0)


def test_sampled_owen_solves_and_conserves():
    method = chosen("owen", 9, 60, UNIONS, 1)
    values = np.random.default_rng(0).random((5, 512))
    at = values[:, method.coalitions(9)]
    assert (at @ method.weights(9)).sum(axis=1) == pytest.approx(values[:, -1] - values[:, 0], abs=1e-12)
    assert method.variance(at, 9).shape == (5, 9)
    with pytest.raises(UserError, match="unions for 9"):
        method.coalitions(8)
