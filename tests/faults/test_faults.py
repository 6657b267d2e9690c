"""Planted errors are what they claim to be, and a ranker finds them without seeing who planted them."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import ScriptedEngine

from apportion.pipeline.faults.faults import Fault, case_of_fault, entities, faults, moved, pool
from apportion.pipeline.localizers.own import COLUMNS, Ranked, consistency, measure
from apportion.pipeline.trajectory.case import case_of
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.trajectory.task import Task


def log(inn: str, owner: str, town: str, changes: dict[int, str] | None = None, name: str = "") -> Log:
    """A planner, a clerk with a register, and a report: messages 0-1 are the system prompts, 2 the task."""
    texts = {
        3: f"ask clerk: Where does {owner}, who owns the {inn}, live?",
        4: f"search: {owner}",
        5: f"{owner} lives in {town}.",
        6: f"{owner} lives in {town}.",
        7: f"answer: {town}",
    } | (changes or {})
    said: list[dict[str, Any]] = [
        row("planner", "system", "system", "lead", []),
        row("clerk", "system", "system", "look up", []),
        row("user", "user", "task", f"In which town does {owner}, who owns the {inn}, live?", []),
        row("planner", "assistant", "message", texts[3], [0, 2], recipient="clerk"),
        row("clerk", "assistant", "message", texts[4], [1, 3], call=1, tool="homes"),
        row("clerk", "tool", "tool_result", texts[5], [], call=1),
        row("clerk", "assistant", "message", texts[6], [1, 3, 4, 5], call=1, recipient="planner"),
        row("planner", "assistant", "message", texts[7], [0, 2, 3, 6], outcome=True),
    ]
    trajectory = {"trajectory_id": name or f"j{owner}", "team": "clerks", "origin": "sampled", "success": True}
    rows = [{**one, "message_index": i} for i, one in enumerate(said)]
    return Log(trajectory, rows, Task("t", "s", "", said[2]["text"], (town,), {}))


def row(
    agent: str, role: str, kind: str, text: str, context: list[int], *,
    call: int = 0, recipient: str | None = None, tool: str | None = None, outcome: bool = False,
) -> dict[str, Any]:  # fmt: skip
    return {
        "agent": agent, "role": role, "kind": kind, "text": text, "context": context, "agent_call_id": call,
        "recipient": recipient, "tool_name": tool, "is_outcome": outcome, "examples": None, "tool_valid": True,
    }  # fmt: skip


NELL = log("Blue Lantern", "Nell Birch", "Farrow")
TOM = log("Old Mitten", "Tom Sedge", "Greyport")


def every(of: Log, seed: int = 0) -> dict[tuple[str, int], Fault]:
    names = pool([NELL, TOM])
    kinds = ("wrong_number", "wrong_tool_input", "dropped_fact", "contradiction")
    return {(one.kind, one.step): one for one in faults(of, names, kinds, 99, seed)}


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


def test_only_a_failure_is_labelled():
    told = {"fault_step": 6, "fault_agent": "clerk", "fault_kind": "wrong_number"}
    lost = Log({**NELL.trajectory, **told, "success": False}, NELL.messages, NELL.task)
    won = Log({**NELL.trajectory, **told, "success": True}, NELL.messages, NELL.task)
    label = case_of_fault(lost).label
    assert label is not None
    assert (label.step, label.agent) == (6, "clerk")
    assert case_of_fault(won).label is None


def test_consistency_tells_new_names_from_those_left_out():
    columns = {name: i for i, name in enumerate(("new", "left_out", "bare", "extra", "first_new"))}
    rows = consistency(log("Blue Lantern", "Nell Birch", "Farrow", {6: "Nell Birch lives in Greyport."}))
    assert rows[:, columns["new"]].tolist() == [0, 0, 1, 1]  # Greyport; then Farrow, which the planner never read
    assert rows[:, columns["left_out"]].tolist() == [0, 0, 1, 1]
    assert rows[:, columns["first_new"]].tolist() == [0, 0, 1, 0]
    rows = consistency(log("Blue Lantern", "Nell Birch", "Farrow", {6: "nobody knows"}))
    assert rows[:, columns["bare"]].tolist() == [0, 0, 1, 0]


def test_signals_do_not_read_what_tells_a_planted_message_from_a_sampled_one():
    engine = ScriptedEngine()
    marked = [
        {**one, "completion_ids": None, "sampling_logprobs": None, "policy_id": None, "seed": None}
        for one in NELL.messages
    ]
    told = {**NELL.trajectory, "origin": "injected", "fault_step": 6, "parent_trajectory_id": "j0"}
    plain = measure([NELL], engine, "answer:")["jNell Birch"]
    planted = measure([Log(told, marked, NELL.task)], engine, "answer:")["jNell Birch"]
    assert np.array_equal(plain, planted)
    assert plain.shape == (4, len(COLUMNS))
    unasked = measure([NELL], None, "")["jNell Birch"]
    asks = np.array([column.split(".")[0] in ("value", "surprise") for column in COLUMNS])
    assert np.array_equal(unasked, np.where(asks, 0.0, plain))


def test_a_ranker_learns_from_some_tasks_and_finds_the_fault_in_others():
    towns = ["Farrow", "Greyport", "Tarnbury", "Longwold", "Milltonfield", "Rookham", "Fernhaven", "Kingside"]
    logs, cases = [], []
    for number, town in enumerate(towns):
        wrong = {6: f"Ann{number} Lee lives in Atlantis."} if number % 2 else {4: "search: Bob Atlantis"}
        one = log("Inn", f"Ann{number} Lee", town, wrong, f"j{number}")
        step = min(wrong)
        told = {"success": False, "fault_step": step, "fault_agent": "clerk"}
        logs.append(Log({**one.trajectory, **told}, one.messages, one.task))
        cases.append(case_of_fault(logs[-1]))
    signals = measure(logs, ScriptedEngine(), "answer:")
    fitted = Ranked(signals, l2=0.1).fit(cases[:6])
    for case, verdict in zip(cases[6:], fitted.judge(cases[6:]), strict=True):
        assert case.label is not None
        assert case.steps[int(verdict.steps.argmax())].index == case.label.step
        assert max(verdict.agents, key=verdict.agents.__getitem__) == "clerk"
        assert sum(verdict.agents.values()) == pytest.approx(1.0)
        assert verdict.steps[2] == -np.inf  # the tool's result is nobody's step


def test_shipped_weights_fit_this_version():
    made = Ranked.shipped({"jNell Birch": measure([NELL], ScriptedEngine(), "answer:")["jNell Birch"]})
    (verdict,) = made.judge([case_of(NELL)])
    assert np.isfinite(verdict.steps[[0, 1, 3, 4]]).all()
    assert json.loads(json.dumps(verdict.agents)).keys() == {"planner", "clerk"}
