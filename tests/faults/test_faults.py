"""Planted errors are what they claim to be."""

from __future__ import annotations

import random

from fault_logs import NELL, TOM, every, log
from hypothesis import given
from hypothesis import strategies as st

from apportion.pipeline.faults.faults import entities, faults, moved, pool


def test_names_and_numbers_are_found_without_the_words_that_open_a_sentence():
    assert [one.text for one in entities("The Blue Lantern cost $1,200.50. Who owns it? Ask Nell Birch.")] == [
        "Blue Lantern", "1,200.50", "Nell Birch",
    ]  # fmt: skip


def test_each_kind_of_fault_reads_as_it_should():
    found = every(NELL)
    assert {key: one.text for key, one in found.items()} == {
        ("wrong_tool_input", 3): "ask clerk: Where does Nell Birch, who owns the Old Mitten, live?",
        ("wrong_tool_input", 4): "search: Tom Sedge",
        ("wrong_number", 6): "Nell Birch lives in Greyport.",
        ("dropped_fact", 6): "Nell Birch lives",
        ("contradiction", 6): "Nell Birch lives in Farrow. Nell Birch lives in Greyport.",
        ("wrong_number", 7): "answer: Greyport",
    }
    assert {one.step: one.agent for one in found.values()} == {3: "planner", 4: "clerk", 6: "clerk", 7: "planner"}


def test_a_replacement_is_never_something_this_run_knows():
    same_town = log("Old Mitten", "Tom Sedge", "Farrow")
    names = pool([NELL, same_town])
    assert faults(NELL, names, ("wrong_number",), 99, 0) == []  # Farrow is the right town of both


def test_faults_depend_on_ids_and_seed_alone_and_take_the_kinds_in_turn():
    names = pool([NELL, TOM])
    kinds = ("wrong_number", "wrong_tool_input", "dropped_fact", "contradiction")
    four = faults(NELL, names, kinds, 4, 0)
    assert four == faults(NELL, names, kinds, 4, 0)
    assert {one.kind for one in four} == set(kinds)
    assert [one.kind for one in faults(NELL, names, ("dropped_fact",), 4, 0)] == ["dropped_fact"]


@given(st.sampled_from(["7", "12", "1,200", "3.50", "0", "0.1"]), st.integers(0, 10_000))
def test_a_moved_number_is_another_one_near_by(number: str, seed: int):
    made = moved(number, random.Random(seed))
    old, new = float(number.replace(",", "")), float(made)
    decimals = len(number.partition(".")[2])
    assert new >= 0
    assert 0.99 <= abs(new - old) * 10**decimals <= 9.01
    assert len(made.partition(".")[2]) == decimals
