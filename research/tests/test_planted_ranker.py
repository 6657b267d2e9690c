"""A ranker finds planted errors without seeing who planted them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fault_logs import NELL, log
from scripted import ScriptedEngine

from apportion.pipeline.trajectory.case import case_of
from apportion.pipeline.trajectory.log import Log
from research.planted_ranker import COLUMNS, Ranked, case_of_fault, consistency, measure


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


def test_only_a_failure_is_labelled():
    told = {"fault_step": 6, "fault_agent": "clerk", "fault_kind": "wrong_number"}
    lost = Log({**NELL.trajectory, **told, "success": False}, NELL.messages, NELL.task)
    won = Log({**NELL.trajectory, **told, "success": True}, NELL.messages, NELL.task)
    label = case_of_fault(lost).label
    assert label is not None
    assert (label.step, label.agent) == (6, "clerk")
    assert case_of_fault(won).label is None
