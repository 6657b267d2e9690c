"""The first error from values of prefixes, by hand; "unlocalized" is an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.failures.first_error import change_point, first_fall, newcombe, wilson


def test_first_fall_takes_the_earliest_one_beyond_the_margin():
    values = [0.5, 0.46, 0.6, 0.2, 0.0]
    found = first_fall(values, margin=0.05)
    assert found is not None
    assert (found.turn, found.fall) == (2, pytest.approx(0.4))
    assert first_fall(values, margin=0.0).turn == 0


def test_a_value_that_never_falls_is_unlocalized():
    assert first_fall([0.1, 0.1, 0.4], margin=0.0) is None
    assert first_fall([0.4, 0.3], margin=0.2) is None


def test_change_point_by_hand():
    # 3 + 4 + 3 of 12 before the third turn, 0 of 8 after it
    found = change_point([3, 4, 3, 0, 0], [4] * 5, margin=0.05)
    assert found is not None
    assert found.turn == 2
    assert found.fall == pytest.approx(10 / 12)


def test_pooling_finds_what_neighbours_alone_cannot_show():
    # one share for [2 0] of 4 each explains it with -4.50 nats, a split with -2.77: not enough, the last turn is blamed
    found = change_point([2, 0], [4, 4], margin=0.0)
    assert found is not None
    assert (found.turn, found.fall) == (1, 0.25)
    # one share of 6/18: -11.46 nats; 6/12 and 0/6: -8.32
    found = change_point([2, 2, 2, 0, 0, 0], [4, 4, 4, 2, 2, 2], margin=0.0)
    assert found is not None
    assert (found.turn, found.fall) == (2, 0.5)


def test_a_run_that_could_be_saved_until_its_last_turn_went_wrong_there():
    found = change_point([2, 1, 2, 2], [4] * 4, margin=0.05)
    assert found is not None
    assert (found.turn, found.fall) == (3, 7 / 16)


@pytest.mark.parametrize("successes", [[0, 0, 0], [1, 0, 0]])
def test_too_few_successes_are_unlocalized(successes: list[int]):
    assert change_point(successes, [2] * 3, margin=0.05) is None


def test_prefixes_without_verdicts_say_nothing():
    assert change_point([3, 0, 4, 0, 0], [4, 0, 4, 4, 4], margin=0.05) == change_point(
        [3, 0, 4, 0, 0, 0], [4, 0, 4, 4, 4, 0], margin=0.05
    )
    assert change_point([0, 0], [0, 0], margin=0.0) is None


def test_a_first_turn_that_loses_everything_is_turn_0():
    found = change_point([8, 0, 0, 0], [8] * 4, margin=0.05)
    assert found is not None
    assert (found.turn, found.fall) == (0, 1.0)


def test_wilson_and_newcombe_against_the_published_example():
    # Newcombe (1998), table II, case (a): 56/70 and 48/80, method 10 without continuity correction
    low, high = newcombe(56, 70, 48, 80)
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)
    assert wilson(0, 4)[0] == 0.0
    assert wilson(4, 4)[1] == 1.0


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_the_fall_lies_where_the_share_falls(successes: list[int]):
    found = change_point(successes, [4] * len(successes), margin=0.0)
    if found is not None:
        before, after = successes[: found.turn + 1], successes[found.turn + 1 :]
        assert sum(before) / len(before) > (sum(after) / len(after) if after else 0)
        assert 0 < found.fall <= 1
