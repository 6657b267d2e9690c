"""A planner and its workers: who is asked, who sees what, and how a conversation ends."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from scripted import drive

from apportion.pipeline.teams.base import Agent, Conversation, Message, Play, Turn, together
from apportion.pipeline.teams.planner_workers import HINT, PlannerWorkers
from apportion.pipeline.tools.calculator import Calculator
from apportion.pipeline.trajectory.task import make_task

AGENTS = (
    Agent("boss", "planner", "lead"),
    Agent("left", "worker", "reckon", (("said", "answered"),), {"calc": "calculator"}),
    Agent("right", "worker", "guess"),
)


def conversation(max_turns: int = 4) -> Conversation:
    task = make_task("What is 2+3?", ["5"], source="toy", split="all")
    return Conversation(task, AGENTS, {"calculator": Calculator()}, max_turns)


def play(talk: Conversation, **said: list[str]) -> list[list[Turn]]:
    """Play with every agent's messages given in advance."""
    lines = {agent: iter(texts) for agent, texts in said.items()}
    return drive(PlannerWorkers(), talk, lambda turn: next(lines[turn.agent]))


def by(talk: Conversation, agent: str) -> list[Message]:
    return [message for message in talk.messages if message.agent == agent and message.kind == "message"]


def test_planner_asks_reads_the_report_and_answers():
    talk = conversation()
    play(talk, boss=["ask left: 2+3", "answer: 5"], left=["It is 5."])
    asked, answered = by(talk, "boss")
    (report,) = by(talk, "left")
    assert talk.final_answer == "5"
    assert [m.index for m in talk.messages if m.is_outcome] == [answered.index]
    assert (asked.recipient, report.recipient) == ("left", "boss")
    assert answered.context == (0, talk.question, asked.index, report.index)


def test_worker_sees_the_message_that_called_it_and_nothing_else():
    talk = conversation()
    play(talk, boss=["ask left: 2+3", "ask right: again", "answer: 5"], left=["5"], right=["6"])
    asked = by(talk, "boss")
    assert by(talk, "left")[0].context == (1, asked[0].index)
    assert by(talk, "right")[0].context == (2, asked[1].index)


def test_two_asks_in_one_turn_run_side_by_side():
    talk = conversation()
    rounds = play(talk, boss=["ask left: 2+3\nask right: 2+3", "answer: 5"], left=["5"], right=["6"])
    assert [[turn.agent for turn in turns] for turns in rounds] == [["boss"], ["left", "right"], ["boss"]]
    left, right = by(talk, "left")[0], by(talk, "right")[0]
    assert {left.call_id, right.call_id} == {1, 2}
    assert (left.parent_call_id, right.parent_call_id) == (0, 0)
    assert by(talk, "boss")[1].context[-2:] == (left.index, right.index)


def test_reports_come_in_the_order_of_the_asks_when_one_call_takes_longer():
    talk = conversation()
    rounds = play(
        talk,
        boss=["ask left: 2+3\nask right: 2+3", "answer: 5"],
        left=["calc: 2+3", "calc: 5+0", "5"],
        right=["6"],
    )
    assert [[turn.agent for turn in turns] for turns in rounds] == [
        ["boss"], ["left", "right"], ["left"], ["left"], ["boss"]
    ]  # fmt: skip
    reports = [talk.messages[i] for i in by(talk, "boss")[1].context[-2:]]
    assert [report.text for report in reports] == ["5", "6"]


def test_the_same_worker_asked_twice_in_one_turn_gets_two_calls_of_its_own():
    talk = conversation()
    play(talk, boss=["ask left: a\nask left: b", "answer: 5"], left=["calc: 1+1", "calc: 2+2", "2", "4"])
    for call, last in ((1, "2"), (2, "4")):
        mine = [m for m in talk.messages if m.call_id == call]
        assert [m.kind for m in mine] == ["message", "tool_result", "message"]
        assert mine[1].text == mine[2].text == last


def test_tool_results_belong_to_the_agent_that_asked_and_stay_in_its_call():
    talk = conversation()
    play(talk, boss=["ask left: 2+3", "answer: 5"], left=["CALC : 2+3", "5"])
    (result,) = [m for m in talk.messages if m.kind == "tool_result"]
    called, report = by(talk, "left")
    assert (result.agent, result.recipient, result.role, result.text) == ("left", "left", "tool", "5")
    assert (called.tool_name, called.tool_input, called.tool_valid) == ("calculator", "2+3", True)
    assert (result.call_id, result.parent_call_id) == (called.call_id, called.parent_call_id) == (1, 0)
    assert report.context == (*called.context, called.index, result.index)
    assert not {called.index, result.index} & set(by(talk, "boss")[1].context)


def test_malformed_tool_call_is_recorded_as_such():
    talk = conversation()
    play(talk, boss=["ask left: x", "answer: 5"], left=["calc: two plus", "no idea"])
    assert by(talk, "left")[0].tool_valid is False


@pytest.mark.parametrize("text", ["hello", "ask nobody: why?", "ask boss: myself", "ask left:"])
def test_unreadable_message_is_answered_with_a_reminder(text: str):
    talk = conversation()
    play(talk, boss=[text, "answer: 5"])
    (notice,) = [m for m in talk.messages if m.kind == "notice"]
    assert (notice.text, notice.role, notice.agent, notice.recipient) == (HINT, "user", "user", "boss")
    assert by(talk, "boss")[1].context[-2:] == (by(talk, "boss")[0].index, notice.index)
    assert talk.final_answer == "5"


def test_planner_stops_after_its_turns_without_an_answer():
    talk = conversation(max_turns=2)
    play(talk, boss=["ask left: a", "ask left: b"], left=["1", "2"])
    assert len(by(talk, "boss")) == 2
    assert talk.final_answer is None
    assert not any(m.is_outcome for m in talk.messages)


def test_worker_that_never_stops_calling_is_stopped_and_its_last_message_reported():
    talk = conversation(max_turns=3)
    play(talk, boss=["ask left: a", "answer: 5"], left=["calc: 1", "calc: 2", "calc: 3"])
    assert [m.text for m in by(talk, "left")] == ["calc: 1", "calc: 2", "calc: 3"]
    assert len([m for m in talk.messages if m.kind == "tool_result"]) == 2
    assert talk.messages[by(talk, "boss")[1].context[-1]].text == "calc: 3"


@pytest.mark.parametrize(
    "said",
    [
        {"boss": ["ask left: a\nask right: b", "what?", "ask right: c", "answer: 5"], "left": ["calc: 1", "1"]},
        {"boss": ["ask left: a\nask left: b", "answer: 5"], "left": ["calc: 1", "calc: 2", "1", "2"]},
    ],
)
def test_contexts_hold_earlier_messages_that_the_writer_could_see(said: dict[str, list[str]]):
    talk = conversation()
    play(talk, right=["r", "s"], **said)
    for message in talk.messages:
        seen = [talk.messages[i] for i in message.context]
        assert all(other.index < message.index for other in seen)
        assert all(other.agent == message.agent for other in seen if other.kind == "system")
        for other in seen:
            if other.kind in ("tool_result", "notice"):
                assert other.recipient == message.agent
                assert other.call_id == message.call_id


def test_answer_may_stand_on_any_line_and_in_any_case():
    talk = conversation()
    play(talk, boss=["I think so.\n  Answer :  5 apples "])
    assert talk.final_answer == "5 apples"


def test_calls_side_by_side_in_a_topology_of_ones_own():
    def call(talk: Conversation, agent: str) -> Generator[list[Turn], list[Message], Message]:
        (message,) = yield [talk.turn(agent, [talk.question], talk.new_call())]
        return message

    class Everyone:
        name, answerer = "everyone", "player"

        def play(self, talk: Conversation) -> Play:
            pair = yield from together([call(talk, "left"), call(talk, "right")])
            (message,) = yield [talk.turn("boss", [m.index for m in pair])]
            talk.answer(message, message.text)

    talk = conversation()
    rounds = drive(Everyone(), talk, lambda turn: turn.agent)
    assert [[turn.agent for turn in turns] for turns in rounds] == [["left", "right"], ["boss"]]
    assert [talk.messages[i].text for i in by(talk, "boss")[0].context[1:]] == ["left", "right"]


def test_calls_inside_calls_get_their_own_messages_back():
    def leaf(talk: Conversation, said: int) -> Generator[list[Turn], list[Message], Message]:
        (message,) = yield [talk.turn("left", [said], talk.new_call())]
        return message

    def pair(talk: Conversation, *said: int) -> Generator[list[Turn], list[Message], Message]:
        reports = yield from together([leaf(talk, one) for one in said])
        assert [report.context[-1] for report in reports] == list(said)
        return reports[-1]

    class Tree:
        name, answerer = "tree", "player"

        def play(self, talk: Conversation) -> Play:
            results = yield from together([pair(talk, 0, 1), pair(talk, 2, 3)])
            assert [result.context[-1] for result in results] == [1, 3]
            talk.answer(results[0], "done")

    talk = conversation()
    rounds = drive(Tree(), talk, lambda turn: "x")
    assert [len(turns) for turns in rounds] == [4]
    assert talk.final_answer == "done"
