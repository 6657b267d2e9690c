"""Votes counted again: every coalition of voters by hand, ties at their expected reward."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.pipeline.credit.exact import shapley
from apportion.pipeline.credit.loo import leave_one_out
from apportion.pipeline.games.game import Rules
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.trajectory.task import make_task
from apportion.pipeline.values.recount import evaluate, game, rewards_of, values, votes_of
from apportion.pipeline.verifiers.base import Verdict
from apportion.pipeline.verifiers.exact import Exact

REWARDS = {"c": 1.0, "w": 0.0, "x": 0.0, "h": 0.5}


def power(*votes: str | None) -> np.ndarray[Any, Any]:
    """v of all coalitions, in the order of bitmasks."""
    return values(votes, REWARDS, np.arange(1 << len(votes)))


def said(index: int, agent: str, text: str | None, role: str = "assistant") -> dict[str, Any]:
    return {"message_index": index, "agent": agent, "role": role, "text": text}


def test_every_coalition_of_two_right_and_one_wrong():
    #              none  c    c    cc   w    cw   cw   ccw
    assert power("c", "c", "w").tolist() == [0, 1, 1, 1, 0, 0.5, 0.5, 1]


@pytest.mark.parametrize(
    ("votes", "expected"),
    [(("c", "c", "w"), [0.5, 0.5, 0]), (("c", "w", "w"), [0, -0.5, -0.5]), (("c", None, None), [1, 0, 0])],
)
def test_leave_one_out_of_the_vote(votes: tuple[str | None, ...], expected: list[float]):
    assert leave_one_out(power(*votes)[None])[0].tolist() == expected


def test_shapley_of_two_right_and_one_wrong_by_hand():
    # the wrong vote: after nobody 0, after one c -1/2, after both 0; orders put it first, second, third alike
    assert shapley(power("c", "c", "w")[None])[0] == pytest.approx([7 / 12, 7 / 12, -1 / 6])


def test_a_tie_is_worth_the_mean_reward_of_the_tied_answers():
    assert power("c", "w", "x")[0b111] == pytest.approx(1 / 3)
    assert power("c", "h", "w", "h", "c")[0b11111] == 0.75


def test_answers_with_fewer_votes_do_not_enter_a_tie():
    assert power("c", "w", "h", "w", "h")[0b11111] == 0.25


@pytest.mark.parametrize("votes", [(), (None,), (None, None)])
def test_nobody_and_no_readable_vote_are_worth_nothing(votes: tuple[None, ...]):
    assert power(*votes).tolist() == [0.0] * (1 << len(votes))


def test_only_the_coalitions_asked_for_are_counted_in_their_order():
    assert values(["c", "w", None], REWARDS, np.array([0b111, 0b001, 0b010, 0b100])).tolist() == [0.5, 1, 0, 0]
    assert values(["c"], REWARDS, np.array([], dtype=np.int64)).shape == (0,)


def test_many_voters_need_no_power_set():
    full = (1 << 60) - 1
    assert values(["c"] * 31 + ["w"] * 29, REWARDS, np.array([full, full ^ 0b11])).tolist() == [1, 0.5]


@pytest.mark.parametrize("masks", [[4], [-1]])
def test_a_mask_of_voters_who_are_not_there_is_refused(masks: list[int]):
    with pytest.raises(ValueError, match="for 2 voters"):
        values(["c", "w"], REWARDS, np.array(masks))


def test_a_vote_without_reward_is_refused():
    with pytest.raises(ValueError, match="the vote 'z' has no reward"):
        values(["c", "z"], REWARDS, np.array([0]))


@given(st.lists(st.sampled_from(["c", "w", "x", "h", None]), min_size=1, max_size=6))
def test_values_equal_a_plain_count_of_every_coalition(votes: list[str | None]):
    table = power(*votes)
    for bits in product((0, 1), repeat=len(votes)):
        there = [vote for vote, bit in zip(votes, bits, strict=True) if bit and vote]
        most = max((there.count(vote) for vote in there), default=0)
        tied = {vote for vote in there if there.count(vote) == most}
        expected = sum(REWARDS[vote] for vote in tied) / len(tied) if tied else 0.0
        assert table[sum(bit << i for i, bit in enumerate(bits))] == pytest.approx(expected)


@given(st.lists(st.sampled_from(["c", "w", "h", None]), min_size=1, max_size=5))
def test_credits_are_conserved_equal_votes_equal_and_abstainers_nothing(votes: list[str | None]):
    table = power(*votes)
    phi = shapley(table[None])[0]
    assert phi.sum() == pytest.approx(table[-1])
    for i, vote in enumerate(votes):
        assert phi[i] == pytest.approx(phi[votes.index(vote)])
        if vote is None:
            assert phi[i] == pytest.approx(0)


MESSAGES = [
    said(0, "a", "Vote.", "system"),
    said(1, "user", "Why?", "user"),
    said(2, "a", "search: answer: fog"),
    said(3, "a", "rain", "tool"),
    said(4, "b", "I say\nAnswer: The  Rain!"),
    said(5, "c", "no idea"),
    said(6, "a", "answer: rain."),
    said(7, "d", "answer: the"),
    said(8, "e", None),
    said(9, "f", "answer:  "),
]


def test_a_vote_is_the_normalized_answer_of_the_last_message():
    assert votes_of(MESSAGES, ["a", "b", "c", "d", "e", "f", "silent"]) == [
        "rain", "rain", None, "the", None, None, None
    ]  # fmt: skip
    assert votes_of(MESSAGES[::-1], ["a"]) == ["rain"]


def test_a_vote_is_judged_in_the_words_that_gave_it_first():
    judged: list[tuple[str, tuple[str, ...]]] = []

    class Spy:
        name = "spy"

        def verify(self, answer: str, references: Any) -> Verdict:
            judged.append((answer, tuple(references)))
            return Verdict(0.25, False)

    assert rewards_of(MESSAGES, ["a", "b", "c", "d"], Spy(), ["rain"]) == {"rain": 0.25, "the": 0.25}
    assert judged == [("The  Rain!", ("rain",)), ("the", ("rain",))]


def test_the_game_of_a_trajectory_and_its_coalition_rows():
    task = make_task("Why?", ["rain"], source="toy", split="all")
    trajectory = {"trajectory_id": "j1", "text_digest": "d"}
    log = Log(trajectory, [*MESSAGES[:5], said(5, "c", "answer: sun")], task)
    rules = Rules("recount", "", "player")
    made = game(log, rules, "verdict of exact", {"b": "voter"})
    assert (made.players, made.agents, made.trajectory_id, made.task_id) == (
        ("a", "b", "c"), ("a", "b", "c"), "j1", task.task_id
    )  # fmt: skip
    assert made.game_id != game(log, rules, "verdict of f1").game_id
    rows = evaluate(made, np.array([0b111, 0b010, 0b101]), log, Exact())
    # a's last message is its tool call, whose argument begins no line: it abstains
    assert [(row["kept"], row["value"]) for row in rows] == [("111", 0.5), ("010", 1.0), ("101", 0.0)]
    assert {(row["game_id"], row["trajectory_id"]) for row in rows} == {(made.game_id, "j1")}


def test_a_trajectory_in_which_nobody_spoke_has_no_game():
    log = Log(
        {"trajectory_id": "j1", "text_digest": "d"}, MESSAGES[:2], make_task("Why?", ["rain"], source="t", split="a")
    )
    with pytest.raises(ValueError, match="nobody spoke"):
        game(log, Rules("recount", "", "player"), "verdict")
