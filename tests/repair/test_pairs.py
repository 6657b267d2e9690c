"""Pairs come from confirmed repairs alone, with the counts of the confirming sample."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import factorial
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_rows import BETTER, STEP, WORSE, messages, repair, repairs, tasks, trajectories

from apportion.pipeline.core.errors import WorkError
from apportion.pipeline.datasets.hygiene import clean
from apportion.pipeline.datasets.pairs import fates, pairs, probability, weight
from apportion.schemas import TABLES


def made(*rows: dict[str, Any], **knobs: Any) -> list[dict[str, Any]]:
    ids = sorted({row["trajectory_id"] for row in rows})
    return pairs(repairs(*rows), messages(*ids), trajectories(*ids), tasks(), **knobs).to_dicts()


def test_pair_carries_both_sides_and_the_confirming_counts() -> None:
    (pair,) = made(repair(selection_k=2, selection_successes=2))
    assert pair["kind"] == "first_error"
    assert (pair["chosen_k"], pair["chosen_successes"]) == (4, 3)
    assert (pair["rejected_k"], pair["rejected_successes"]) == (4, 1)
    assert pair["margin"] == pytest.approx(0.5)
    assert pair["chosen"] == [{"role": "assistant", "content": BETTER}]
    assert pair["rejected"] == [{"role": "assistant", "content": WORSE}]
    assert (pair["prompt_ids"], pair["chosen_ids"], pair["rejected_ids"]) == ([1, 2, 3], [4, 5], [6])
    assert (pair["rejected_trajectory_id"], pair["rejected_message_index"]) == ("f", STEP)
    assert (pair["chosen_trajectory_id"], pair["chosen_message_index"]) == ("j1", STEP)
    assert (pair["task_id"], pair["agent"], pair["policy_id"]) == ("t0", "planner", "p0")
    assert pair["split"] is None


def test_prompt_is_the_chat_that_the_author_saw() -> None:
    (pair,) = made(repair())
    assert pair["prompt"] == [
        {"role": "system", "content": "You plan."},
        {"role": "user", "content": "Question: Who?"},
        {"role": "assistant", "content": "ask owners: Who?"},
        {"role": "user", "content": "Question: In which town does the owner of the Blue Lantern live?"},
        {"role": "assistant", "content": "ask owners: Who owns it?"},
        {"role": "user", "content": "owners: Tom Sedge."},
    ]


def test_pairs_fit_the_declared_table() -> None:
    data = pairs(repairs(repair()), messages(), trajectories(), tasks()).to_arrow()
    assert TABLES["preferences"].conform(data).num_rows == 1


@pytest.mark.parametrize(
    ("changes", "fate"),
    [
        ({"proposal": "random"}, "control"),
        ({"confirmation_k": None, "confirmation_successes": None}, "not_confirmed"),
        ({"confirmation_k": 0, "confirmation_successes": 0}, "not_confirmed"),
        ({"baseline_k": None, "baseline_successes": None}, "no_baseline"),
        ({"baseline_k": 0, "baseline_successes": 0}, "no_baseline"),
        ({"confirmation_successes": 1}, "no_gain"),
        ({"confirmation_k": 1, "confirmation_successes": 1, "baseline_k": 10, "baseline_successes": 9}, "unlikely"),
    ],
)
def test_no_pair_without_confirmed_gain(changes: dict[str, Any], fate: str) -> None:
    assert made(repair(**changes)) == []
    counts = fates(repairs(repair(**changes)))
    assert counts[fate] == 1
    assert sum(counts.values()) == 1


def test_sibling_makes_a_contrast() -> None:
    (pair,) = made(repair(proposal="sibling", source_trajectory_id="won"))
    assert (pair["kind"], pair["chosen_trajectory_id"]) == ("contrast", "won")


def test_recorded_message_said_again_is_no_pair() -> None:
    assert made(repair(WORSE + " ")) == []


def test_cap_takes_the_best_selected_not_the_best_confirmed() -> None:
    rows = [
        repair("a", alternative_index=0, selection_k=4, selection_successes=2, confirmation_successes=4),
        repair("b", alternative_index=1, selection_k=4, selection_successes=3, confirmation_successes=2),
        repair("c", alternative_index=2, selection_k=4, selection_successes=4, confirmation_successes=3),
    ]
    texts = {pair["chosen"][0]["content"] for pair in made(*rows)}
    assert texts == {"b", "c"}


def test_text_counts_once_a_step_by_its_largest_confirming_sample() -> None:
    lucky = repair(alternative_index=0, confirmation_k=2, confirmation_successes=2)
    sober = repair(alternative_index=1, confirmation_k=8, confirmation_successes=1)
    assert made(lucky, sober) == []
    assert fates(repairs(lucky, sober))["repeated"] == 1
    control = repair(proposal="random", confirmation_k=9, confirmation_successes=0)
    assert len(made(lucky, control)) == 1


def test_same_pair_from_two_rollouts_is_one_pair_of_the_larger_sample() -> None:
    (pair,) = made(repair(), repair(trajectory_id="g", confirmation_k=8, confirmation_successes=7))
    assert (pair["rejected_trajectory_id"], pair["chosen_k"]) == ("g", 8)


def test_repair_without_its_log_is_an_error() -> None:
    with pytest.raises(WorkError, match="trajectory f step 7: its message"):
        pairs(repairs(repair()), messages("other"), trajectories(), tasks())
    with pytest.raises(WorkError, match="its task"):
        pairs(repairs(repair()), messages(), trajectories("other"), tasks())


def test_no_repairs_no_pairs() -> None:
    assert len(pairs(repairs(), messages(), trajectories(), tasks())) == 0
    assert set(fates(repairs()).values()) == {0}


def beta_above(k: int, s: int, other_k: int, other_s: int) -> Fraction:
    """P(p > q) by integrating polynomials: p^s (1-p)^(k-s) against the integral of q^s' (1-q)^(k'-s') below p."""

    def expanded(k: int, s: int) -> dict[int, Fraction]:
        scale = Fraction(factorial(k + 1), factorial(s) * factorial(k - s))
        choose = [factorial(k - s) // (factorial(j) * factorial(k - s - j)) for j in range(k - s + 1)]
        return {s + j: scale * (-1) ** j * ways for j, ways in enumerate(choose)}

    terms = product(expanded(k, s).items(), expanded(other_k, other_s).items())
    return sum((a * b / (j + 1) / (i + j + 2) for (i, a), (j, b) in terms), Fraction(0))


def test_probability_by_hand() -> None:
    # p ~ Beta(2, 1), q ~ Beta(1, 2): P(max of two > min of two others) = 1 - P(first two both the smallest) = 5/6.
    assert probability(1, 1, 1, 0) == pytest.approx(5 / 6)
    assert weight(1, 1, 1, 0) == pytest.approx(2 / 3)
    assert probability(0, 0, 0, 0) == pytest.approx(0.5)
    assert weight(4, 1, 4, 0) == pytest.approx(5 / 9)


samples = st.integers(0, 7).flatmap(lambda k: st.tuples(st.just(k), st.integers(0, k)))


@given(samples, samples)
@settings(deadline=None)
def test_probability_is_the_integral(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert probability(*one, *other) == pytest.approx(float(beta_above(*one, *other)))
    assert probability(*one, *other) + probability(*other, *one) == pytest.approx(1)


counts = st.integers(0, 4).flatmap(lambda k: st.tuples(st.just(k), st.integers(0, k)))
maybe = st.none() | counts


@st.composite
def repair_rows(draw: st.DrawFn) -> dict[str, Any]:
    (selected_k, selected), confirmed, base = draw(counts), draw(maybe), draw(maybe)
    return repair(
        draw(st.sampled_from(["a", "b", BETTER, WORSE, "the a"])),
        trajectory_id=draw(st.sampled_from(["f", "g"])),
        proposal=draw(st.sampled_from(["monte_carlo", "sibling", "random", "value_drop"])),
        selection_k=selected_k, selection_successes=selected,
        confirmation_k=confirmed and confirmed[0], confirmation_successes=confirmed and confirmed[1],
        baseline_k=base and base[0], baseline_successes=base and base[1],
    )  # fmt: skip


@given(st.lists(repair_rows(), max_size=8))
@settings(max_examples=40, deadline=None)
def test_no_unconfirmed_alternative_enters_a_data_set(drawn: list[dict[str, Any]]) -> None:
    rows = [row | {"alternative_index": number} for number, row in enumerate(drawn)]
    found = pairs(repairs(*rows), messages("f", "g"), trajectories("f", "g"), tasks())
    assert sum(fates(repairs(*rows)).values()) == len(rows)
    for pair in clean(found, tasks()).pairs.to_dicts():
        origin = [
            row
            for row in rows
            if row["trajectory_id"] == pair["rejected_trajectory_id"]
            and row["text"] == pair["chosen"][0]["content"]
            and row["proposal"] != "random"
            and row["confirmation_k"]
            and (row["confirmation_k"], row["confirmation_successes"]) == (pair["chosen_k"], pair["chosen_successes"])
        ]
        assert origin
        assert pair["chosen_successes"] * pair["rejected_k"] > pair["rejected_successes"] * pair["chosen_k"]
        assert 0 < pair["weight"] <= 1
        assert pair["chosen"] != pair["rejected"]


def test_order_of_the_repairs_does_not_matter() -> None:
    rows = [repair(text, alternative_index=n, selection_k=n + 1) for n, text in enumerate("abcd")]
    backwards = pairs(repairs(*rows[::-1]), messages(), trajectories(), tasks())
    assert backwards.equals(pairs(repairs(*rows), messages(), trajectories(), tasks()))
    assert isinstance(backwards, pl.DataFrame)
