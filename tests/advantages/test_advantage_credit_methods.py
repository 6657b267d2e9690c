"""sharp and shapley: rewards of three parts, compared by role."""

from __future__ import annotations

import dataclasses
import json

import pytest

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.registry import family
from apportion.schemas import TABLES

METHODS = family("advantages")

TEAM = {"a": (1, "ann bob cid ann"), "b": (0, "ann bob cid ann")}
CREDITS = {
    "a": {"bob": (0.5, 0.4), "cid": (-0.1, -0.2)},
    "b": {"bob": (0.1, 0.1), "cid": (0.0, 0.0)},
}


def std(*values: float) -> float:
    mean = sum(values) / len(values)
    return (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5


def test_sharp_by_hand(run_of, credits_of, of):
    """bob called its tool twice in a (valid, invalid: 1/2); cid once in b (valid: 1).

    Workers: a/bob .9 + .9 * .4 + .05 = 1.31, a/cid .9 - .18 = .72, b/bob .09, b/cid .1: one pool of four.
    Planner: a .9 + .9 * mean(.4, 0) = 1.08, b .9 * mean(.1, 0) = .045.
    """
    run = run_of(
        {"a": (1, "ann bob bob cid ann"), "b": (0, "ann bob cid ann")},
        tools={("a", 2): True, ("a", 3): False, ("b", 3): True},
        credits=credits_of(CREDITS),
    )
    table = METHODS.make("sharp").advantages(run)
    rewards = {
        ("a", 1): 1.08, ("a", 2): 1.31, ("a", 3): 1.31, ("a", 4): 0.72, ("a", 5): 1.08,
        ("b", 1): 0.045, ("b", 2): 0.09, ("b", 3): 0.1, ("b", 4): 0.045,
    }  # fmt: skip
    assert of(table, "reward") == pytest.approx(rewards)
    workers, planner = (1.31, 0.72, 0.09, 0.1), (1.08, 0.045)
    mean, spread = sum(workers) / 4, std(*workers)
    found = of(table)
    assert found["a", 2] == found["a", 3] == pytest.approx((1.31 - mean) / spread, abs=1e-5)
    assert found["a", 4] == pytest.approx((0.72 - mean) / spread, abs=1e-5)
    assert found["b", 2] == pytest.approx((0.09 - mean) / spread, abs=1e-5)
    assert found["b", 3] == pytest.approx((0.1 - mean) / spread, abs=1e-5)
    assert found["a", 1] == found["a", 5] == pytest.approx((1.08 - 0.5625) / std(*planner), abs=1e-5)
    assert found["b", 1] == pytest.approx(-(0.5**0.5), abs=1e-5)
    assert of(table, "group_size")["a", 2] == 4
    assert of(table, "group_size")["a", 1] == 2
    row = table.row(1, named=True)
    assert json.loads(row["reward_parts"]) == {"outcome": 1.0, "credit": 0.4, "tool": 0.5}
    assert (row["game_id"], row["role"]) == ("va", "worker")
    assert json.loads(row["parameters"])["lambda"] == 1.0
    assert TABLES["advantages"].conform(table.to_arrow()).num_rows == 9


def test_shapley_by_hand(run_of, credits_of, of):
    """phi for every agent: the planner has its own in a (0.2), and as mere channel in b none, which counts as 0."""
    credits = {"a": CREDITS["a"] | {"ann": (0.2, 0.9)}, "b": CREDITS["b"] | {"ann": (None, None)}}
    table = METHODS.make("shapley").advantages(run_of(TEAM, credits=credits_of(credits)))
    rewards = of(table, "reward")
    assert rewards == pytest.approx(
        {
            ("a", 1): 0.9 + 0.18, ("a", 2): 0.9 + 0.45, ("a", 3): 0.9 - 0.09, ("a", 4): 1.08,
            ("b", 1): 0, ("b", 2): 0.09, ("b", 3): 0, ("b", 4): 0,
        }
    )  # fmt: skip
    workers = (1.35, 0.81, 0.09, 0.0)
    assert of(table)["a", 3] == pytest.approx((0.81 - sum(workers) / 4) / std(*workers), abs=1e-5)
    assert of(table)["a", 4] == pytest.approx(0.5**0.5, abs=1e-5)


def test_a_harmful_worker_of_a_success_stands_below_a_helpful_one(run_of, credits_of, of):
    for name in ("sharp", "shapley"):
        found = of(METHODS.make(name).advantages(run_of(TEAM, credits=credits_of(CREDITS))))
        assert found["a", 2] > found["a", 3]


def test_an_agent_missing_in_a_rollout_is_not_compared_there(run_of, credits_of, of):
    """Without cid in b there are three worker rewards, and the planner's mean in b is over bob alone: .9 * .1."""
    run = run_of(TEAM | {"b": (0, "ann bob ann")}, credits=credits_of(CREDITS | {"b": {"bob": (0.1, 0.1)}}))
    table = METHODS.make("sharp").advantages(run)
    assert of(table, "group_size")["a", 2] == 3
    assert of(table, "reward")["b", 1] == pytest.approx(0.09)


def test_a_worker_that_was_never_heard_has_credit_zero_and_dilutes_the_planner(run_of, credits_of, of):
    run = run_of(TEAM, credits=credits_of(CREDITS | {"a": {"bob": (0.4, 0.4)}}))
    rewards = of(METHODS.make("sharp").advantages(run), "reward")
    assert rewards["a", 3] == pytest.approx(0.9)
    assert rewards["a", 1] == pytest.approx(0.9 + 0.9 * 0.2)


def test_a_planner_that_called_nobody_has_only_the_outcome(run_of, credits_of, of):
    run = run_of(
        {"a": (1, "ann bob"), "b": (1, "ann ann")}, credits=credits_of({"a": {"bob": (1, 1)}, "b": {"ann": (1, 1)}})
    )
    rewards = of(METHODS.make("sharp").advantages(run), "reward")
    assert rewards["b", 1] == pytest.approx(0.9)
    assert rewards["a", 1] == pytest.approx(1.8)


@pytest.mark.parametrize("name", ["sharp", "shapley"])
def test_groups_of_one_and_flat_groups_give_zero_by_role(run_of, credits_of, name):
    """One rollout: two workers are still a pool of two, unless they did equally well; the planner is alone."""
    alone = METHODS.make(name).advantages(run_of({"a": (1, "ann bob")}, credits=credits_of({"a": {"bob": (0.5, 0.5)}})))
    assert alone["advantage"].to_list() == [0, 0]
    assert alone["degenerate"].all()
    even = {t: {"bob": (0.3, 0.3), "cid": (0.3005, 0.3005)} for t in "ab"}
    run = run_of({t: (1, said) for t, (_, said) in TEAM.items()}, credits=credits_of(even))
    flat = METHODS.make(name).advantages(run)
    assert flat["advantage"].to_list() == [0] * 8
    assert flat["degenerate"].all()


def test_two_workers_of_one_rollout_are_compared(run_of, credits_of, of):
    run = run_of({"a": TEAM["a"]}, credits=credits_of({"a": CREDITS["a"]}))
    found = of(METHODS.make("sharp").advantages(run))
    assert [found["a", 2], found["a", 3]] == pytest.approx([0.5**0.5, -(0.5**0.5)], abs=1e-5)
    assert found["a", 1] == 0


@pytest.mark.parametrize("name", ["sharp", "shapley"])
def test_credit_on_successes_alone_is_refused_with_the_cure(run_of, credits_of, name):
    run = run_of(TEAM | {"c": (0, "ann bob")}, credits=credits_of({"a": CREDITS["a"]}))
    said = f"advantages {name}: 2 of 3 trajectories have no credit.*apportion annotate --set annotate.on=all"
    with pytest.raises(UserError, match=said):
        METHODS.make(name).advantages(run)


def test_an_unplayable_trajectory_has_credit_zero(run_of, credits_of, of):
    run = run_of({"a": (1, "ann bob"), "b": (1, "ann")}, credits=credits_of({"a": {"bob": (0.5, 0.5)}}))
    table = METHODS.make("sharp").advantages(dataclasses.replace(run, unplayable=frozenset({"b"})))
    assert of(table, "reward") == pytest.approx({("a", 1): 1.35, ("a", 2): 1.35, ("b", 1): 0.9})
    assert of(table, "game_id") == {("a", 1): "va", ("a", 2): "va", ("b", 1): None}


def test_two_games_of_one_trajectory_are_refused(run_of, credits_of):
    credits = credits_of(CREDITS)
    run = run_of(TEAM, credits=credits.vstack(credits.head(1)))
    with pytest.raises(UserError, match="several credits for trajectory_id a, agent bob; pass one game"):
        METHODS.make("sharp").advantages(run)


def test_an_agent_without_a_role_is_refused(run_of, credits_of):
    run = run_of(TEAM, credits=credits_of(CREDITS), team_roles={"ann": "planner", "bob": "worker"})
    with pytest.raises(UserError, match="advantages shapley: agent 'cid' has no role in the team"):
        METHODS.make("shapley").advantages(run)


def test_needs_say_what_has_to_be_annotated():
    assert METHODS.make("sharp").needs == METHODS.make("shapley").needs == {"credits", "credits_on_failures"}
    assert METHODS.make("success_failure").needs == {"message_credits", "localizations"}
    assert METHODS.make("grpo").needs == METHODS.make("rloo").needs == METHODS.make("dr_mas").needs == set()
