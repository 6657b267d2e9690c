"""How logs are cut to a scorer's budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from localize_logs import case
from scripted import ByteTokenizer, decoded

from apportion.pipeline.games.prompts import water_level
from research.signals.window import LEAST, cut, view_of

TOKENIZER = ByteTokenizer()


def test_a_log_within_the_budget_is_whole() -> None:
    view = view_of(case(("a", "one"), ("b", "two")), TOKENIZER)
    assert decoded(view.until(2)) == "Question: How many?\n\na: one\n\nb: two\n\n"
    assert view.share_cut == 0


def test_the_longest_messages_pay_and_keep_head_and_tail() -> None:
    view = view_of(case(("a", "short"), ("b", "x" * 500 + "END")), TOKENIZER, budget=100)
    assert decoded(view.steps[0]) == "a: short\n\n"
    long = decoded(view.steps[1])
    assert long.startswith("b: xxx")
    assert long.endswith("END\n\n")
    assert " ... " in long
    assert sum(map(len, view.steps)) <= 100
    assert view.share_cut == pytest.approx(1 - 100 / (len("a: short\n\n") + len("b: END\n\n") + 500))


@given(st.lists(st.integers(0, 400), min_size=1, max_size=40), st.integers(50, 500))
def test_the_water_level_is_the_largest_cap_that_fits(counts: list[int], budget: int) -> None:
    cap = water_level(counts, budget, least=LEAST)
    assert cap == LEAST or sum(min(n, cap) for n in counts) <= budget
    if cap < max(counts):
        assert sum(min(n, cap + 1) for n in counts) > budget


@given(st.integers(0, 200), st.integers(LEAST, 100))
def test_a_cut_message_is_as_long_as_its_cap(length: int, cap: int) -> None:
    assert len(cut(tuple(range(length)), cap, (0, 0, 0))) == min(length, cap)


def test_a_log_of_too_many_messages_keeps_both_ends_within_the_budget() -> None:
    view = view_of(case(*[("a", f"message {i} of many") for i in range(60)]), TOKENIZER, budget=200)
    assert sum(map(len, view.steps)) <= 200
    assert view.steps[0]
    assert view.steps[-1]
    assert not view.steps[30]
