"""grpo, rloo and dr_mas: one reward a rollout."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.registry import family
from apportion.schemas import TABLES

METHODS = family("advantages")

ROOT = 2**0.5


def test_grpo_by_hand(run_of, of):
    """Outcomes 1, 0, 0, 1: mean 1/2, std (ddof 1) = sqrt(4 * 1/4 / 3) = sqrt(1/3), so A = +-sqrt(3)/2."""
    run = run_of({"a": (1, "ann bob ann"), "b": (0, "ann"), "c": (0, "ann bob"), "d": (1, "bob")})
    table = METHODS.make("grpo").advantages(run)
    expected = {"a": 3**0.5 / 2, "b": -(3**0.5) / 2, "c": -(3**0.5) / 2, "d": 3**0.5 / 2}
    found = of(table)
    assert set(found) == {("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1), ("c", 2), ("d", 1)}
    for (trajectory, _), advantage in found.items():
        assert advantage == pytest.approx(expected[trajectory], abs=1e-5)
    row = table.row(0, named=True)
    assert row["group_mean"] == 0.5
    assert row["group_std"] == pytest.approx((1 / 3) ** 0.5)
    assert (row["group_size"], row["group_id"], row["degenerate"]) == (4, "g", False)
    assert json.loads(row["reward_parts"]) == {"outcome": 1.0}
    assert json.loads(row["parameters"]) == {"delta": 1e-6, "sigma_min": 1e-3}
    assert (row["agent"], row["role"], row["game_id"]) == ("ann", "planner", None)


def test_the_rows_are_rows_of_the_declared_table(run_of):
    run = run_of({"a": (1, "ann bob"), "b": (0, "ann")})
    table = TABLES["advantages"].conform(METHODS.make("grpo").advantages(run).to_arrow())
    assert table.num_rows == 3


def test_rloo_by_hand(run_of, of):
    """Outcomes 1, 0, 0.5: against the others' means 0.25, 0.75 and 0.5."""
    run = run_of({"a": (1, "ann"), "b": (0, "ann"), "c": (0.5, "ann")})
    assert of(METHODS.make("rloo").advantages(run)) == {
        ("a", 1): pytest.approx(0.75),
        ("b", 1): pytest.approx(-0.75),
        ("c", 1): pytest.approx(0.0),
    }


def test_dr_mas_compares_an_agent_with_its_own_rollouts(run_of, of):
    """ann spoke in all (1, 0, 0): mean 1/3, std sqrt(1/3). bob only in a and b (1, 0): mean 1/2, std sqrt(1/2)."""
    run = run_of({"a": (1, "ann bob bob"), "b": (0, "ann bob"), "c": (0, "ann")})
    table = METHODS.make("dr_mas").advantages(run)
    std = (1 / 3) ** 0.5
    expected = {
        ("a", 1): (2 / 3) / std,
        ("a", 2): 0.5 * ROOT,
        ("a", 3): 0.5 * ROOT,
        ("b", 1): (-1 / 3) / std,
        ("b", 2): -0.5 * ROOT,
        ("c", 1): (-1 / 3) / std,
    }
    assert of(table) == pytest.approx(expected, abs=1e-5)
    # bob spoke twice in a: that is still one reward
    assert of(table, "group_size")["a", 2] == 2


def test_dr_mas_of_an_agent_that_spoke_in_one_rollout_is_degenerate(run_of, of):
    table = METHODS.make("dr_mas").advantages(run_of({"a": (1, "ann bob"), "b": (0, "ann")}))
    assert of(table)["a", 2] == 0
    assert of(table, "degenerate") == {("a", 1): False, ("a", 2): True, ("b", 1): False}


@pytest.mark.parametrize("name", ["grpo", "rloo", "dr_mas"])
@pytest.mark.parametrize(
    "rollouts", [{"a": (1, "ann")}, {"a": (1, "ann"), "b": (1, "ann")}, {"a": (0.5, "ann"), "b": (0.5009, "ann")}]
)
def test_groups_of_one_and_flat_groups_give_zero(run_of, name, rollouts):
    table = METHODS.make(name).advantages(run_of(rollouts))
    assert table["advantage"].to_list() == [0.0] * len(rollouts)
    assert table["degenerate"].all()
    assert table["reward"].to_list() == [reward for reward, _ in rollouts.values()]
    assert table["group_size"].to_list() == [len(rollouts)] * len(rollouts)


@pytest.mark.parametrize("name", ["grpo", "rloo", "dr_mas"])
def test_groups_are_never_mixed(run_of, name, of):
    """Two rollouts without a group are two groups of one, not one group of two."""
    rollouts = {"a": (1, "ann"), "b": (0, "ann"), "c": (1, "ann"), "d": (1, "ann"), "e": (0, "ann"), "f": (1, "ann")}
    group = {"c": "h", "d": "h", "e": None, "f": None}
    found = of(METHODS.make(name).advantages(run_of(rollouts, group)))
    assert found["a", 1] > 0 > found["b", 1]
    assert [found[t, 1] for t in "cdef"] == [0, 0, 0, 0]


def test_only_trained_messages_have_a_row_but_every_rollout_counts(run_of, of):
    run = run_of({"a": (1, "ann bob"), "b": (0, "ann")}, untrained=[("a", 1), ("b", 1)])
    table = METHODS.make("dr_mas").advantages(run)
    assert list(of(table)) == [("a", 2)]
    table = METHODS.make("grpo").advantages(run)
    assert of(table) == {("a", 2): pytest.approx(ROOT / 2, abs=1e-5)}


def test_an_empty_run_has_no_row(run_of):
    for name in METHODS.names():
        assert len(METHODS.make(name).advantages(run_of({}))) == 0


def test_an_unknown_method_names_the_known_ones():
    with pytest.raises(UserError, match="advantages.method = 'gpro': no such advantage method; .*did you mean 'grpo'"):
        METHODS.make("gpro")


def test_a_rollout_without_outcome_is_refused(run_of):
    run = run_of({"a": (1, "ann"), "b": (float("nan"), "ann")})
    with pytest.raises(UserError, match="trajectory b: no outcome to reward .1 of 2"):
        METHODS.make("grpo").advantages(run)


def test_names_are_the_registry_s():
    assert [METHODS.make(name).name for name in METHODS.names()] == METHODS.names()


OUTCOMES = st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=6)


@settings(max_examples=40)
@given(OUTCOMES, st.randoms(use_true_random=False))
def test_advantages_of_a_group_sum_to_zero_in_any_order(run_of, of, outcomes, random):
    rollouts = {f"t{i}": (outcome, "ann") for i, outcome in enumerate(outcomes)}
    shuffled = list(rollouts.items())
    random.shuffle(shuffled)
    for name in ("grpo", "rloo", "dr_mas"):
        found = of(METHODS.make(name).advantages(run_of(rollouts)))
        assert sum(found.values()) == pytest.approx(0, abs=1e-6)
        assert of(METHODS.make(name).advantages(run_of(dict(shuffled)))) == pytest.approx(found, abs=1e-6)


@settings(max_examples=40)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=6))
def test_half_the_reward_is_the_same_grpo_advantage_and_half_the_rloo_one(run_of, of, outcomes):
    whole = {f"t{i}": (outcome, "ann") for i, outcome in enumerate(outcomes)}
    half = {t: (outcome / 2, said) for t, (outcome, said) in whole.items()}
    assert of(METHODS.make("grpo").advantages(run_of(half))) == pytest.approx(
        of(METHODS.make("grpo").advantages(run_of(whole))), abs=1e-4
    )
    doubled = {key: 2 * value for key, value in of(METHODS.make("rloo").advantages(run_of(half))).items()}
    assert doubled == pytest.approx(of(METHODS.make("rloo").advantages(run_of(whole))))


def test_grpo_has_unit_variance(run_of):
    table = METHODS.make("grpo").advantages(
        run_of({t: (r, "ann") for t, r in zip("abc", (0.1, 0.4, 0.9), strict=True)})
    )
    assert table["advantage"].std(ddof=1) == pytest.approx(1, abs=1e-5)
    assert isinstance(table, pl.DataFrame)
