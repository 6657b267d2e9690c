"""Ranks, signs and orders against numbers worked out by hand, and intervals that admit what they do not know."""

from __future__ import annotations

from math import sqrt

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.pipeline.audit.agreement import commoner_sign, order_share, rank_correlation, sign_agreement, spearman
from apportion.pipeline.audit.figures import estimate, mean, ratio


def rows(x: list[float], truth: list[float], trajectories: str = "", players: str = "") -> pl.DataFrame:
    number = len(x)
    return pl.DataFrame(
        {
            "trajectory_id": list(trajectories) or [f"t{i}" for i in range(number)],
            "player": list(players) or ["a"] * number,
            "x": x,
            "truth": truth,
        },
        schema_overrides={"x": pl.Float64, "truth": pl.Float64},
    )


def correlation(x: list[float], y: list[float], weights: list[int] | None = None) -> float:
    counts = np.array([weights or [1] * len(x)], dtype=np.float64)
    return float(spearman(np.array(x), np.array(y), counts)[0])


def test_spearman_with_ties_by_hand() -> None:
    # Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4: sums of products 4.5, of squares 4.5 and 5.
    assert correlation([1, 2, 2, 4], [10, 30, 20, 40]) == pytest.approx(4.5 / sqrt(4.5 * 5))
    assert correlation([1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx(1 - 6 * 4 / (4 * 15))
    assert correlation([1, 2, 3], [-1, -2, -3]) == pytest.approx(-1)


def test_spearman_of_a_constant_side_is_undefined() -> None:
    assert np.isnan(correlation([1, 1, 1], [1, 2, 3]))
    assert np.isnan(correlation([0.1, 0.7], [0.1, 0.3], [3, 0]))
    assert np.isnan(correlation([], []))


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 3)), min_size=1, max_size=12).filter(
        lambda some: sum(weight for *_, weight in some) > 0
    )
)
def test_a_weight_is_a_row_so_many_times(some: list[tuple[int, int, int]]) -> None:
    x, y, weights = (list(side) for side in zip(*some, strict=True))
    repeated = [(a, b) for a, b, weight in some for _ in range(weight)]
    plain = correlation([a for a, _ in repeated], [b for _, b in repeated])
    assert correlation(x, y, weights) == pytest.approx(plain, nan_ok=True)


def test_signs_by_hand() -> None:
    # Right, wrong, a zero beside an effect counts half, no effect is left out, right: 2.5 of 4.
    data = rows([0.2, -0.1, 0.0, 0.3, -0.5], [0.5, 0.25, -0.25, 0.0, -0.5])
    found = sign_agreement(data, "x", "truth")
    assert (found.value, found.n) == (pytest.approx(2.5 / 4), 4)
    assert commoner_sign(data, "truth").value == pytest.approx(0.5)
    assert commoner_sign(rows([0] * 3, [1, 1, -1]), "truth").value == pytest.approx(2 / 3)


def test_order_by_hand() -> None:
    # t: a over b and over c, both right; b and c tie in truth. u: a and b tie in x (half), a under c is wrong.
    data = rows([0.3, 0.1, 0.1, 0.0, 0.0, 0.5], [0.5, 0.25, 0.25, 1.0, 0.0, 0.0], "tttuuu", "abcabc")
    found = order_share(data, "x", "truth")
    assert (found.value, found.n) == (pytest.approx(2.5 / 4), 4)


def test_what_is_undefined_is_null_with_a_reason() -> None:
    still = rows([0.1, 0.2, 0.3], [0.0, 0.0, 0.0], "ttu", "aba")
    found = [
        rank_correlation(still, "x", "truth"),
        sign_agreement(still, "x", "truth"),
        commoner_sign(still, "truth"),
        order_share(still, "x", "truth"),
        rank_correlation(rows([], []), "x", "truth"),
        sign_agreement(rows([], []), "x", "truth"),
    ]
    assert {one.value for one in found} == {None}
    assert [one.note for one in found] == [
        "a side is constant: no ranks to compare",
        "every replayed difference is zero",
        "every replayed difference is zero",
        "no two agents of a trajectory differ in the replay",
        "nothing to compare",
        "nothing to compare",
    ]


def test_interval_is_the_same_every_time_and_covers_what_it_should() -> None:
    flags = pl.DataFrame({"trajectory_id": [f"t{i}" for i in range(100)], "hit": [i % 2 == 0 for i in range(100)]})
    one, two = (mean(flags, "hit", "none") for _ in range(2))
    assert one == two
    assert one.value == pytest.approx(0.5)
    # The standard error of a share of 100 is 0.05.
    assert one.low == pytest.approx(0.4, abs=0.02)
    assert one.high == pytest.approx(0.6, abs=0.02)
    assert one.note is None


def test_an_interval_does_not_hang_on_the_order_of_the_rows() -> None:
    data = pl.DataFrame({"trajectory_id": [f"t{i}" for i in range(14)], "x": [float(i * i) for i in range(14)]})
    shuffled = [mean(data.sample(fraction=1, shuffle=True, seed=seed), "x", "none") for seed in range(20)]
    assert set(shuffled) == {mean(data, "x", "none")}


def test_trajectories_are_drawn_whole() -> None:
    data = pl.DataFrame({"trajectory_id": [f"t{i % 40}" for i in range(80)], "x": [float(i % 40) for i in range(80)]})
    twice, once = mean(data, "x", "none"), mean(data.head(40), "x", "none")
    assert (twice.value, twice.low, twice.high) == pytest.approx((once.value, once.low, once.high))


def test_an_interval_that_would_pretend_is_not_given() -> None:
    alone = estimate(ratio(np.array([1.0]), np.array([2.0])), 1, "none", 1)
    assert (alone.value, alone.low, alone.note) == (0.5, None, "no interval: a single trajectory")
    alike = estimate(ratio(np.ones(30), np.ones(30)), 30, "none", 30)
    assert (alike.value, alike.low, alike.note) == (1.0, None, "no interval: the same in every resample")
    # One of three trajectories has something to count: (2/3)^3 of the draws miss it.
    rare = estimate(ratio(np.array([1.0, 0, 0]), np.array([2.0, 0, 0])), 3, "none", 3)
    assert (rare.value, rare.low) == (0.5, None)
    assert rare.note is not None
    assert rare.note.startswith("no interval: undefined in ")
    few = mean(pl.DataFrame({"trajectory_id": list("abc"), "x": [0.0, 0.5, 1.0]}), "x", "none")
    assert few.low is not None
    assert few.note == "only 3 trajectories: the interval is too narrow"
