"""The first error from values of prefixes, by hand; "unlocalized" is an answer."""

from __future__ import annotations

from fractions import Fraction
from math import factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.pipeline.core.intervals import wilson
from apportion.pipeline.localizers._first_error import change_point, first_fall


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


def test_the_more_probable_split_is_taken_by_hand():
    # split after the first: 2!2!/5! times 0!4!/5! = 1/150; no split: 2!6!/9! = 1/252
    found = change_point([2, 0], [4, 4], margin=0.0)
    assert found is not None
    assert (found.turn, found.fall) == (0, 0.5)
    # of 2 each: split 1!1!/3! times 1!1!/3! = 1/36 does not fall; no split 2!2!/5! = 1/30
    found = change_point([1, 1], [2, 2], margin=0.0)
    assert found is not None
    assert (found.turn, found.fall) == (1, 0.5)
    # 6/12 and 0/6 explain it better than any other split
    found = change_point([2, 2, 2, 0, 0, 0], [4, 4, 4, 2, 2, 2], margin=0.0)
    assert found is not None
    assert (found.turn, found.fall) == (2, 0.5)


def test_a_lucky_continuation_after_the_error_does_not_move_it():
    # 7/8 and 1/12, against 7/8 ... 1/16 of later splits
    found = change_point([4, 3, 0, 1, 0], [4] * 5, margin=0.05)
    assert found is not None
    assert (found.turn, found.fall) == (1, pytest.approx(7 / 8 - 1 / 12))


def test_a_run_that_could_be_saved_until_its_last_turn_went_wrong_there():
    found = change_point([2, 1, 2, 2], [4] * 4, margin=0.05)
    assert found is not None
    assert (found.turn, found.fall) == (3, 7 / 16)


@pytest.mark.parametrize("successes", [[0, 0, 0], [0, 1, 0]])
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


def test_wilson_at_its_ends():
    assert wilson(0, 4)[0] == 0.0
    assert wilson(4, 4)[1] == 1.0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6))
def test_change_point_against_its_definition(pairs: list[tuple[int, int]]):
    """The most probable of the falling splits, by exact fractions; it stands by what could be won before it."""
    won, k = [a for a, _ in pairs], [a + b for a, b in pairs]

    def evidence(part: slice) -> Fraction:
        w, n = sum(won[part]), sum(k[part])
        return Fraction(factorial(w) * factorial(n - w), factorial(n + 1))

    def share(part: slice) -> Fraction:
        return Fraction(sum(won[part]), max(1, sum(k[part])))

    splits = [(slice(t + 1), slice(t + 1, None)) for t in range(len(pairs))]
    falls = {t: share(a) - share(b) for t, (a, b) in enumerate(splits) if share(a) > share(b)}
    found = change_point(won, k, margin=0.05)
    if not falls:
        assert found is None
        return
    odds = {t: evidence(splits[t][0]) * evidence(splits[t][1]) for t in falls}
    best = min(t for t in falls if odds[t] == max(odds.values()))
    before = splits[best][0]
    if wilson(sum(won[before]), sum(k[before]))[0] <= 0.05:
        assert found is None
    else:
        assert found is not None
        assert (found.turn, found.fall) == (best, pytest.approx(float(falls[best])))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_the_fall_lies_where_the_share_falls(successes: list[int]):
    found = change_point(successes, [4] * len(successes), margin=0.0)
    if found is not None:
        before, after = successes[: found.turn + 1], successes[found.turn + 1 :]
        assert sum(before) / len(before) > (sum(after) / len(after) if after else 0)
        assert 0 < found.fall <= 1
