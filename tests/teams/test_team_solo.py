"""One agent alone: tool calls until it answers."""

from __future__ import annotations

import pytest
from scripted import drive

from apportion.pipeline.teams.base import Agent, Conversation
from apportion.pipeline.teams.solo import Solo
from apportion.pipeline.tools.calculator import Calculator
from apportion.pipeline.trajectory.task import make_task


def alone(*texts: str, max_turns: int = 3) -> Conversation:
    """The conversation in which the one agent says `texts`."""
    task = make_task("What is 2+3?", ["5"], source="toy", split="all")
    agent = Agent("solo", "solo", tools={"calc": "calculator"})
    talk = Conversation(task, [agent], {"calculator": Calculator()}, max_turns)
    lines = iter(texts)
    drive(Solo(), talk, lambda turn: next(lines))
    assert next(lines, None) is None
    return talk


def test_solo_calls_its_tools_and_answers():
    talk = alone("calc: 2+3", "answer: 5")
    assert [m.kind for m in talk.messages] == ["system", "task", "message", "tool_result", "message"]
    assert talk.messages[3].text == "5"
    assert talk.messages[4].context == (0, 1, 2, 3)
    assert talk.messages[4].is_outcome
    assert talk.final_answer == "5"


@pytest.mark.parametrize(("text", "answer"), [("ANSWER: 5", "5"), ("It is 5", "It is 5"), ("see: 5", "see: 5")])
def test_a_message_without_a_tool_call_is_the_answer(text: str, answer: str):
    assert alone(text).final_answer == answer


def test_only_the_first_line_of_a_tool_call_is_its_argument():
    talk = alone("calc: 2+3\nand then I wait", "answer: 5")
    assert talk.messages[2].tool_input == "2+3"


def test_tool_call_without_argument_is_malformed():
    assert alone("calc:", "answer: 5").messages[2].tool_valid is False


def test_solo_that_only_calls_tools_ends_without_an_answer():
    talk = alone("calc: 1", "calc: 2", max_turns=2)
    assert talk.final_answer is None
    assert not any(m.is_outcome for m in talk.messages)
