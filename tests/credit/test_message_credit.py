"""Sharing an agent's credit among its messages, and texts that repeat each other."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit import messages


def message_table(
    agents: str, helpfulness: list[float | None] | None = None, redundancy: list[float | None] | None = None
) -> pl.DataFrame:
    rows = pl.DataFrame(
        {
            "game_id": "g",
            "trajectory_id": "t",
            "message_index": pl.Series(range(len(agents)), dtype=pl.Int32),
            "agent": list(agents),
        }
    )
    given_columns = {"helpfulness": helpfulness, "redundancy": redundancy}
    return rows.with_columns(
        pl.Series(name, values, dtype=pl.Float64) for name, values in given_columns.items() if values is not None
    )


def credit_table(estimator: str = "exact", **credits: float) -> pl.DataFrame:
    return pl.DataFrame(
        {"game_id": "g", "player": list(credits), "estimator": estimator, "credit": list(credits.values())}
    )


def shares(*args, **kwargs) -> list[float]:
    return messages.message_credits(*args, **kwargs)["credit"].to_list()


def test_by_hand():
    """phi = 0.6 over messages of quality 1 and 0: 0.3 + 0.3 (1 - 0.5) and 0.3 + 0.3 (0 - 0.5)."""
    rows = message_table("aa", [1.0, 0.0])
    assert shares(rows, credit_table(a=0.6)) == pytest.approx([0.45, 0.15])
    assert shares(rows, credit_table(a=0.6), kappa=0.5) == pytest.approx([0.375, 0.225])


def test_negative_credit_does_not_punish_the_best_message_most():
    best, worst = shares(message_table("aa", [1.0, -1.0]), credit_table(a=-0.6))
    assert best > worst
    assert best + worst == pytest.approx(-0.6)


def test_redundancy_discounts_praise_but_not_harm():
    praised = shares(message_table("aa", [0.8, 0.8], [1.0, 0.0]), credit_table(a=0.5))
    assert praised[0] < praised[1]
    harmful = shares(message_table("aa", [-0.8, -0.8], [1.0, 0.0]), credit_table(a=0.5))
    assert harmful == pytest.approx([0.25, 0.25])


def test_without_helpfulness_the_split_is_equal():
    assert shares(message_table("aab"), credit_table(a=0.5, b=-0.2)) == pytest.approx([0.25, 0.25, -0.2])
    assert shares(message_table("aa", [None, None], [0.3, 0.9]), credit_table(a=0.5)) == [0.25, 0.25]


def test_an_unscored_message_counts_as_average():
    assert shares(message_table("aaa", [1.0, None, 0.0]), credit_table(a=0.6)) == pytest.approx([0.3, 0.2, 0.1])


numbers = st.floats(-1, 1)
rows_of_one_agent = st.lists(st.tuples(st.none() | numbers, st.none() | st.floats(0, 1)), min_size=1, max_size=12)


@given(numbers, rows_of_one_agent, st.floats(0, 1))
def test_messages_sum_to_their_agent(phi, rows, kappa):
    table = message_table("a" * len(rows), [row[0] for row in rows], [row[1] for row in rows])
    credit = np.array(shares(table, credit_table(a=phi), kappa=kappa))
    assert credit.sum() == pytest.approx(phi, rel=1e-12, abs=1e-300)
    assert (np.abs(credit) <= (1 + 2 * kappa) * abs(phi) / len(rows) * (1 + 1e-12)).all()


def test_one_row_per_message_and_estimator():
    credits = pl.concat([credit_table(a=0.4, b=0.2), credit_table("loo", a=0.0, b=1.0)])
    result = messages.message_credits(message_table("aba"), credits)
    assert result.schema == messages.MESSAGE_CREDIT_SCHEMA
    by_estimator = {key[0]: group["credit"].to_list() for key, group in result.group_by("estimator")}
    assert by_estimator == {"exact": [0.2, 0.2, 0.2], "loo": [0.0, 1.0, 0.0]}


def test_games_stay_apart():
    rows = pl.concat([message_table("aa"), message_table("aa").with_columns(game_id=pl.lit("h"))])
    credits = pl.concat([credit_table(a=0.4), credit_table(a=-0.4).with_columns(game_id=pl.lit("h"))])
    assert shares(rows, credits) == [0.2, 0.2, -0.2, -0.2]


def test_an_agent_that_is_no_player_has_no_credit():
    assert shares(message_table("ab"), credit_table(a=0.4)) == [0.4, None]


def test_bad_input_is_refused_by_name():
    with pytest.raises(UserError, match="trajectory t, message 1: helpfulness = 1.5"):
        shares(message_table("aa", [0.0, 1.5]), credit_table(a=0.4))
    with pytest.raises(UserError, match="redundancy = nan"):
        shares(message_table("a", [0.0], [float("nan")]), credit_table(a=0.4))
    with pytest.raises(UserError, match="kappa"):
        shares(message_table("a"), credit_table(a=0.4), kappa=-1.0)
    with pytest.raises(UserError, match="two exact credits of agent 'a'"):
        shares(message_table("a"), pl.concat([credit_table(a=0.4), credit_table(a=0.4)]))
    with pytest.raises(UserError, match="agent 'silent' has credit 0.1"):
        shares(message_table("a"), credit_table(a=0.4, silent=0.1))
    assert shares(message_table("a"), credit_table(a=0.4, silent=0.0)) == [0.4]


def test_redundancy_looks_only_at_what_was_in_view():
    texts = ["the capital of France is Paris", "The capital of France is Paris!", "I agree with Rome"]
    assert messages.redundancy(texts, [[], [0], [0, 1]]).tolist() == [0.0, 1.0, 0.0]
    assert messages.redundancy(texts, [[], [], [1]]).tolist() == [0.0, 0.0, 0.0]


def test_redundancy_takes_the_closest_earlier_message():
    texts = ["a b c d x", "a b c y z", "a b c d e"]
    assert messages.redundancy(texts, [[], [], [1]])[2] == pytest.approx(1 / 3)
    assert messages.redundancy(texts, [[], [], [0, 1]])[2] == pytest.approx(2 / 3)


def test_redundancy_of_short_texts():
    assert messages.redundancy(["I say Paris now", "Paris"], [[], [0]]).tolist() == [0.0, 1.0]
    assert messages.redundancy(["Paris", "I say Paris now"], [[], [0]]).tolist() == [0.0, 0.0]
    assert messages.redundancy(["...", "..."], [[], [0]]).tolist() == [0.0, 0.0]


def test_a_view_holds_earlier_messages_only():
    with pytest.raises(ValueError, match="message 1"):
        messages.redundancy(["a", "b"], [[], [1]])


def test_leak_is_the_longest_run_still_standing():
    removed = "The owner of the red house is Ada"
    assert messages.leak(removed, ["As told, the owner of the red house is Ada."]) == 1.0
    assert messages.leak(removed, ["so the red house it is", "is Ada here"]) == pytest.approx(3 / 8)
    assert messages.leak(removed, ["nothing shared"]) == 0.0
    assert messages.leak(removed, []) == messages.leak("", [removed]) == 0.0


def test_leak_joins_neither_texts_nor_parts_of_words():
    assert messages.leak("red house", ["my red", "house"]) == 0.5
    assert messages.leak("art", ["a party"]) == 0.0


def test_leak_counts_characters_of_unspaced_scripts():
    assert messages.leak("巴黎是首都", ["答案:巴黎"]) == pytest.approx(2 / 5)


words_strategy = st.lists(st.sampled_from("abc"), max_size=12)


@given(words_strategy, st.lists(words_strategy, max_size=3))
def test_leak_equals_the_plain_search(removed, later):
    longest = 0
    for start in range(len(removed)):
        for end in range(start + 1, len(removed) + 1):
            run = removed[start:end]
            if any(run == text[i : i + len(run)] for text in later for i in range(len(text))):
                longest = max(longest, len(run))
    expected = longest / len(removed) if removed else 0.0
    assert messages.leak(" ".join(removed), [" ".join(text) for text in later]) == pytest.approx(expected)
