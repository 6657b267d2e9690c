"""Coalition tables in, credit tables out."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from estimates import estimated
from hypothesis import given
from hypothesis import strategies as st

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit import exact, loo, permutation, quadrature, solve


def table(games: dict[str, list[float]], stderr: float | None = None) -> pl.DataFrame:
    """Coalition rows of games given on their power set, in bitmask order."""
    rows = [
        (game, solve.kept_of(s, len(values).bit_length() - 1), value, stderr)
        for game, values in games.items()
        for s, value in enumerate(values)
    ]
    schema = {"game_id": pl.String, "kept": pl.String, "value": pl.Float64, "stderr": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


OR = [0.0, 1.0, 1.0, 1.0]
AND = [0.0, 0.0, 0.0, 1.0]


@given(st.integers(0, 62), st.data())
def test_text_and_mask_are_the_same_coalition(n, data):
    mask = data.draw(st.integers(0, 2**n - 1))
    kept = solve.kept_of(mask, n)
    assert [i for i, char in enumerate(kept) if char == "1"] == [i for i in range(n) if mask >> i & 1]
    assert len(kept) == n
    assert solve.mask_of(kept) == mask
    assert solve.masks_of(pl.Series([kept], dtype=pl.String), n).tolist() == [mask]


def test_other_characters_are_no_coalition():
    assert solve.masks_of(pl.Series(["+1", "-0", "1x", "10"]), 2).tolist() == [-1, -1, -1, 1]
    with pytest.raises(ValueError, match="no coalition"):
        solve.mask_of("1_0")


def test_known_games():
    rows = solve.solve(table({"or": OR, "and": AND}))
    assert rows.schema == solve.CREDIT_SCHEMA
    assert rows.select("game_id", "player_index", "credit", "loo").rows() == [
        ("or", 0, 0.5, 0.0),
        ("or", 1, 0.5, 0.0),
        ("and", 0, 0.5, 1.0),
        ("and", 1, 0.5, 1.0),
    ]
    assert set(rows["evaluations"]) == {4}
    assert set(rows["estimator"]) == {"exact"}
    assert rows["v_full"].to_list() == [1.0] * 4
    assert rows["v_empty"].to_list() == [0.0] * 4
    assert rows["efficient"].all()
    assert rows["residual"].abs().max() < 1e-12


def test_values_without_sampling_error_have_no_interval():
    rows = solve.solve(table({"or": OR}))
    assert set(rows["stderr_source"]) == {"none"}
    assert rows.select("stderr", "ci_low", "ci_high").null_count().row(0) == (2, 2, 2)


def test_sampled_values_propagate():
    mixed = pl.concat([table({"sampled": OR}, stderr=0.1), table({"read": OR})])
    rows = solve.solve(mixed)
    assert rows["stderr_source"].to_list() == ["rollout", "rollout", "none", "none"]
    assert rows["stderr"].to_list()[:2] == pytest.approx([0.1, 0.1])
    assert rows["ci_low"][0] == pytest.approx(0.5 - 1.959964 * 0.1)
    assert rows["ci_high"][0] == pytest.approx(0.5 + 1.959964 * 0.1)
    assert rows["stderr"].to_list()[2:] == [None, None]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 1000))
def test_any_row_order_and_any_mix_of_sizes(sizes, seed):
    rng = np.random.default_rng(seed)
    games = {f"game{i}": rng.random(1 << n).tolist() for i, n in enumerate(sizes)}
    rows = solve.solve(table(games).sample(fraction=1.0, shuffle=True, seed=seed))
    assert len(rows) == sum(sizes)
    for game, values in games.items():
        mine = rows.filter(pl.col("game_id") == game).sort("player_index")
        assert mine["credit"].to_list() == pytest.approx(exact.shapley(np.array([values]))[0].tolist())
        assert mine["loo"].to_list() == pytest.approx(loo.leave_one_out(np.array([values]))[0].tolist())
        assert mine["v_full"][0] == values[-1]
        assert mine["v_empty"][0] == values[0]


def test_leave_one_out_needs_only_its_own_coalitions():
    full = table({"a": np.random.default_rng(0).random(8).tolist()})
    part = full.filter(pl.col("kept").is_in(["111", "011", "101", "110"]))
    rows = solve.solve(part, loo.LeaveOneOut())
    assert rows["credit"].to_list() == rows["loo"].to_list() == solve.solve(full)["loo"].to_list()
    assert set(rows["evaluations"]) == {4}
    assert not rows["efficient"].any()
    assert rows.select("residual", "v_empty", "stderr").null_count().row(0) == (3, 3, 3)
    assert solve.solve(full, loo.LeaveOneOut())["v_empty"].null_count() == 0


def test_leave_one_out_error_bar():
    rows = solve.solve(table({"a": OR}, stderr=0.3), loo.LeaveOneOut())
    assert rows["stderr"].to_list() == pytest.approx([0.3 * 2**0.5] * 2)


def test_permutation_solves_large_games():
    method = permutation.Permutation(pairs=20, seed=3)
    masks = method.coalitions(40)
    value = np.random.default_rng(0).random(len(masks))
    rows = pl.DataFrame(
        {
            "game_id": "big",
            "kept": [solve.kept_of(int(s), 40) for s in masks],
            "value": value,
            "stderr": pl.Series([None] * len(masks), dtype=pl.Float64),
        }
    )
    solved = solve.solve(rows.reverse(), method)
    expected = estimated(value[None], permutation.plan(40, 20, 3))
    assert solved["credit"].to_list() == pytest.approx(expected.credit[0].tolist())
    assert solved["stderr"].to_list() == pytest.approx(expected.stderr[0].tolist())
    assert solved["ci_high"].to_list() == pytest.approx(expected.ci_high[0].tolist())
    assert set(solved["stderr_source"]) == {"estimator"}
    assert solved["residual"].abs().max() < 1e-12
    assert set(solved["evaluations"]) == {len(masks)}


def test_permutation_error_bar_with_sampled_values():
    method = permutation.Permutation(pairs=4)
    values = {"a": np.random.default_rng(1).random(8).tolist()}
    plain, noisy = solve.solve(table(values), method), solve.solve(table(values, stderr=0.1), method)
    assert set(noisy["stderr_source"]) == {"both"}
    assert (noisy["stderr"] > plain["stderr"]).all()
    assert plain["ci_low"].null_count() == 3
    one = solve.solve(table(values), permutation.Permutation(pairs=1))
    assert one["stderr"].null_count() == 3


def test_quadrature_solves_games_of_several_sizes_at_once():
    method = quadrature.Quadrature(64)
    rng = np.random.default_rng(2)
    games = {"small": rng.random(16).tolist(), "large": rng.random(512).tolist()}
    solved = solve.solve(table(games), method)
    assert solved.filter(pl.col("game_id") == "small")["credit"].to_list() == pytest.approx(
        exact.shapley(np.array([games["small"]]))[0].tolist()
    )
    large = solved.filter(pl.col("game_id") == "large")
    assert set(large["stderr_source"]) == {"estimator"}
    assert (large["ci_low"] < large["credit"]).all()
    assert large["loo"].to_list() == pytest.approx(loo.leave_one_out(np.array([games["large"]]))[0].tolist())
    assert solved["residual"].abs().max() < 1e-12
    assert set(solved["estimator"]) == {"quadrature"}


def test_exact_beyond_its_reach_names_the_way_out():
    rows = pl.DataFrame({"game_id": ["g"], "kept": ["1" * 20], "value": [1.0], "stderr": [None]})
    with pytest.raises(UserError, match="use the estimator 'auto'"):
        solve.solve(rows)
    with pytest.raises(UserError, match="game g: 70 players"):
        solve.solve(rows.with_columns(kept=pl.lit("1" * 70)))


def replace(rows: pl.DataFrame, column: str, row: int, value: object) -> pl.DataFrame:
    values = rows[column].to_list()
    values[row] = value
    return rows.with_columns(pl.Series(column, values, dtype=rows.schema[column]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], r"game bad: coalition 11 is missing \(1 of 4 are\)"),
        (lambda rows: rows.filter(pl.col("game_id") != "bad").vstack(rows[4:5]), "game bad: coalition 10"),
        (lambda rows: replace(rows, "kept", 6, "10"), "game bad: coalition 10 is there 2 times"),
        (lambda rows: rows.vstack(rows[5:6]), "game bad: coalition 10 is there 2 times"),
        (lambda rows: replace(rows, "kept", 5, "1"), "game bad: its 'kept' strings differ in length"),
        (lambda rows: replace(rows, "kept", 5, "1x"), "game bad: kept = '1x'"),
        (lambda rows: replace(rows, "kept", 5, None), "game bad: a coalition without 'kept'"),
        (lambda rows: replace(rows, "value", 5, None), "game bad: a value that is null"),
        (
            lambda rows: replace(rows, "value", 5, float("nan")),
            "game bad: a value that is null or not finite",
        ),
        (lambda rows: replace(rows, "stderr", 5, -1.0), "game bad: a stderr that is negative"),
        (lambda rows: replace(rows, "stderr", 5, float("inf")), "game bad: a stderr that is negative or not"),
        (lambda rows: replace(rows, "game_id", 5, None), "a coalition without game_id"),
        (lambda rows: rows.drop("stderr"), "column 'stderr' is missing"),
    ],
)
def test_bad_rows_are_refused_by_name(change, message):
    rows = table({"good": OR, "bad": AND})
    with pytest.raises(UserError, match=message):
        solve.solve(change(rows))


def test_nothing_to_solve():
    assert solve.solve(table({})).schema == solve.CREDIT_SCHEMA
    assert solve.solve(table({"nobody": [0.5]})).rows() == []
