"""People are never blamed, nor is what a tool prints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from localize_logs import case
from scripted import ScriptedEngine

from apportion.pipeline.localizers.base import Means, Verdict, of_agents
from apportion.pipeline.localizers.generative_judge import GenerativeJudge
from apportion.pipeline.localizers.learned import Learned
from apportion.pipeline.trajectory.blamable import blamable
from apportion.pipeline.trajectory.people import is_person


@pytest.mark.parametrize(
    "name",
    ["user", "User", "USER", "human", "Human", "user_proxy", "UserProxy", "UserProxyAgent", "user_proxy_agent",
     "user proxy", "human_proxy", "end-user", "EndUser", "user1", "Customer 2", "human_input", "user_simulator"],
)  # fmt: skip
def test_these_names_are_peoples(name: str) -> None:
    assert is_person(name)


@pytest.mark.parametrize(
    "name", ["planner", "user_researcher", "UserInterfaceExpert", "customer_service_agent", "human_resources_expert",
             "proxy", "agent", "assistant", "humanizer", "Orchestrator", ""],
)  # fmt: skip
def test_these_names_are_agents(name: str) -> None:
    assert not is_person(name)


def test_people_tools_and_the_asker_are_no_candidates() -> None:
    one = case(
        ("Alice", "Do it now."), ("user_proxy", "We assume five."), ("coder", "ok"), ("Computer_terminal", "Error: x"),
        ("environment", "done"), ("Alice", "No."), asker="Alice",
    )  # fmt: skip
    assert blamable(one).tolist() == [False, False, True, False, False, False]
    assert blamable(replace(one, asker=None)).tolist() == [True, False, True, False, False, True]


def test_whoever_asks_is_an_agent_where_nobody_else_speaks() -> None:
    assert blamable(case(("planner", "I begin."), ("planner", "I end."), asker="planner")).tolist() == [True, True]
    assert not blamable(case(("user", "Hi"), ("user", "Hello?"), asker="user")).any()


def test_a_verdict_keeps_only_agents() -> None:
    one = case(("human", "x"), ("coder", "y"))
    told = of_agents(one, Verdict(np.array([5.0, 1.0]), {"human": 5.0, "coder": 1.0}, none=0.5, unlikeness=2.0))
    assert told.steps.tolist() == [-np.inf, 1.0]
    assert told.agents == {"human": -np.inf, "coder": 1.0}
    assert (told.none, told.unlikeness) == (0.5, 2.0)


@pytest.mark.parametrize("person", ["user", "user_proxy", "Human"])
def test_no_localizer_that_reads_blames_a_person(person: str) -> None:
    guilty = "We assume a hypothetical placeholder.\n```python\nraise\n```"
    one = case((person, guilty), ("coder", "ok"), (person, guilty), ("Computer_terminal", "exitcode: 1"))
    for localizer in (Learned(), GenerativeJudge()):
        (verdict,) = localizer.judge([one], Means(ScriptedEngine))
        assert one.steps[int(verdict.steps.argmax())].agent == "coder"
        assert max(verdict.agents, key=lambda name: verdict.agents[name]) == "coder"
        assert np.exp(verdict.steps[1]) == pytest.approx(1) or verdict.steps[0] == -np.inf
