"""A thinker and a solver: who sees what, who uses which tools, and what counts as the answer."""

from __future__ import annotations

import tomllib

import pytest
from roads import ROOT
from scripted import drive

from apportion.pipeline.teams.base import Agent, Conversation, Message, Turn
from apportion.pipeline.teams.solo import ANSWER
from apportion.pipeline.teams.think_solve import ThinkSolve
from apportion.pipeline.tools.calculator import Calculator
from apportion.pipeline.trajectory.task import make_task

PLAIN = (Agent("muse", "thinker"), Agent("hand", "solver"))
TOOLED = tuple(Agent(agent.name, agent.role, tools={"calc": "calculator"}) for agent in PLAIN)


def conversation(agents: tuple[Agent, ...], max_turns: int = 3) -> Conversation:
    task = make_task("What is 2+3?", ["5"], source="toy", split="all")
    return Conversation(task, agents, {"calculator": Calculator()}, max_turns)


def play(talk: Conversation, **said: list[str]) -> list[list[Turn]]:
    lines = {agent: iter(texts) for agent, texts in said.items()}
    rounds = drive(ThinkSolve(), talk, lambda turn: next(lines[turn.agent]))
    assert not [agent for agent, left in lines.items() if next(left, None) is not None]
    return rounds


def by(talk: Conversation, agent: str) -> list[Message]:
    return [message for message in talk.messages if message.agent == agent and message.kind == "message"]


def test_the_solver_reads_question_and_thought_and_answers():
    talk = conversation(PLAIN)
    rounds = play(talk, muse=["Add them."], hand=["answer: 5"])
    assert [[turn.agent for turn in turns] for turns in rounds] == [["muse"], ["hand"]]
    (thought,), (answer,) = by(talk, "muse"), by(talk, "hand")
    assert thought.context == (0, talk.question)
    assert answer.context == (1, talk.question, thought.index)
    assert (thought.recipient, talk.final_answer) == ("hand", "5")
    assert [m.index for m in talk.messages if m.is_outcome] == [answer.index]


def test_the_answer_is_the_solvers_own_move():
    assert ThinkSolve.answerer == "player"


def test_order_in_the_team_file_does_not_matter():
    talk = conversation(PLAIN[::-1])
    play(talk, muse=["Add them."], hand=["answer: 5"])
    assert [m.agent for m in talk.messages if m.kind == "message"] == ["muse", "hand"]


def test_what_the_thinker_found_out_stays_with_it():
    talk = conversation(TOOLED)
    play(talk, muse=["calc: 2+3", "It is 5."], hand=["calc: 5+0", "answer: 5"])
    *_, answer = by(talk, "hand")
    seen = [talk.messages[i] for i in answer.context]
    assert [(m.agent, m.kind, m.text) for m in seen[2:]] == [
        ("muse", "message", "It is 5."), ("hand", "message", "calc: 5+0"), ("hand", "tool_result", "5")
    ]  # fmt: skip
    assert {(m.agent, m.call_id) for m in talk.messages if m.role in ("assistant", "tool")} == {
        ("muse", 1),
        ("hand", 0),
    }


@pytest.mark.parametrize("text", ["It is 5", "answer: It is 5"])
def test_a_solver_without_tools_may_answer_in_plain_words(text: str):
    talk = conversation(PLAIN)
    play(talk, muse=["Add."], hand=[text])
    assert talk.final_answer == "It is 5"


def test_a_solver_that_only_calls_tools_gives_no_answer():
    talk = conversation(TOOLED, max_turns=2)
    play(talk, muse=["Add."], hand=["calc: 1", "calc: 2"])
    assert talk.final_answer is None
    assert not any(m.is_outcome for m in talk.messages)


def test_the_examples_of_the_team_file_read_as_the_team_speaks():
    team = tomllib.loads((ROOT / "pipeline/configs/teams/thinkers.toml").read_text())
    assert team["topology"] == ThinkSolve.name
    thinker, solver = team["agents"]
    assert (thinker["role"], solver["role"]) == ("thinker", "solver")
    thoughts = [answered for _, answered in thinker["examples"][1::2]]
    asked = [said for said, _ in thinker["examples"][::2]]
    heard = [f"{question}\n{thinker['name']}: {thought}" for question, thought in zip(asked, thoughts, strict=True)]
    assert [said for said, _ in solver["examples"][::2]] == heard
    for said, answered in solver["examples"][1::2]:
        found = ANSWER.search(answered)
        assert found is not None
        assert found.group(1) in said
