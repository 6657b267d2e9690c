"""Voters side by side: who sees what, what counts as a vote, who wins, and whose message is the answer."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from roads import ROOT
from scripted import drive

from apportion.pipeline.teams.base import Agent, Conversation, Turn
from apportion.pipeline.teams.voting import Voting, majority, vote
from apportion.pipeline.tools.calculator import Calculator
from apportion.pipeline.trajectory.task import make_task

VOTERS = tuple(Agent(name, "voter", tools={"calc": "calculator"}) for name in ("ann", "bob", "cem"))


def votes(agents: tuple[Agent, ...] = VOTERS, max_turns: int = 3, **said: list[str]) -> Conversation:
    """The conversation in which every agent says what is given, nothing left over."""
    talk = conversation(agents, max_turns)
    play(talk, **said)
    return talk


def conversation(agents: tuple[Agent, ...] = VOTERS, max_turns: int = 3) -> Conversation:
    task = make_task("What is 2+3?", ["5"], source="toy", split="all")
    return Conversation(task, agents, {"calculator": Calculator()}, max_turns)


def play(talk: Conversation, **said: list[str]) -> list[list[Turn]]:
    lines = {agent: iter(texts) for agent, texts in said.items()}
    rounds = drive(Voting(), talk, lambda turn: next(lines[turn.agent]))
    assert not [agent for agent, left in lines.items() if next(left, None) is not None]
    return rounds


def outcome(talk: Conversation) -> list[str]:
    return [message.agent for message in talk.messages if message.is_outcome]


def test_the_majority_answers_in_the_words_of_its_first_message():
    talk = votes(ann=["answer: six"], bob=["It is so.\nanswer: Five."], cem=["answer: the five"])
    assert talk.final_answer == "Five."
    assert outcome(talk) == ["bob"]


@pytest.mark.parametrize(
    ("said", "answer", "writer"),
    [
        (("answer: 1", "answer: 2", "answer: 3"), "1", "ann"),
        (("no idea", "answer: 2", "answer: 3"), "2", "bob"),
        (("answer: 1", "answer:", "answer: 3"), "1", "ann"),
    ],
)
def test_a_tie_goes_to_the_first_of_the_tied_in_the_team_files_order(
    said: tuple[str, str, str], answer: str, writer: str
):
    talk = votes(ann=[said[0]], bob=[said[1]], cem=[said[2]])
    assert (talk.final_answer, outcome(talk)) == (answer, [writer])


def test_of_two_against_two_the_answer_that_was_named_first_in_the_file_wins():
    four = (*VOTERS, Agent("dee", "voter"))
    talk = votes(four, ann=["answer: 1"], bob=["answer: 2"], cem=["answer: 2"], dee=["answer: 1"])
    assert talk.final_answer == "1"


def test_order_of_the_file_decides_a_tie_and_order_of_speech_the_wording():
    talk = votes(ann=["calc: 2+3", "answer: 5"], bob=["answer: 6"], cem=["no idea"])
    assert (talk.final_answer, outcome(talk)) == ("5", ["ann"])
    talk = votes(ann=["calc: 2+3", "answer: Five"], bob=["answer: five"], cem=["answer: 6"])
    assert (talk.final_answer, outcome(talk)) == ("five", ["bob"])


def test_nobody_who_can_be_read_is_no_answer():
    talk = votes(ann=["5"], bob=["calc: 1", "calc: 2"], cem=["answer: "], max_turns=2)
    assert (talk.final_answer, outcome(talk)) == (None, [])


def test_voters_work_side_by_side_and_hear_nobody_else():
    talk = conversation()
    rounds = play(talk, ann=["answer: 5"], bob=["calc: 2+3", "answer: 5"], cem=["calc: 1+1", "answer: 2"])
    assert [[turn.agent for turn in turns] for turns in rounds] == [["ann", "bob", "cem"], ["bob", "cem"]]
    for message in talk.messages:
        seen = [talk.messages[i] for i in message.context]
        assert {other.agent for other in seen} <= {message.agent, "user"}
    last = {m.agent: m for m in talk.messages if m.kind == "message"}
    assert [talk.messages[i].text for i in last["bob"].context[2:]] == ["calc: 2+3", "5"]


def test_every_voter_has_a_call_of_its_own():
    talk = votes(ann=["calc: 2+3", "answer: 5"], bob=["answer: 5"], cem=["answer: 6"])
    calls = {(m.agent, m.call_id, m.parent_call_id) for m in talk.messages if m.role in ("assistant", "tool")}
    assert calls == {("ann", 1, 0), ("bob", 2, 0), ("cem", 3, 0)}


def test_agents_of_other_roles_do_not_vote():
    talk = votes((*VOTERS[:1], Agent("clerk", "worker")), ann=["answer: 5"])
    assert talk.final_answer == "5"


def test_equal_answers_are_one_vote_however_they_are_written():
    assert vote("Answer : The Town of  Farrow!") == vote("so\nanswer: town of farrow") == "town of farrow"
    assert majority(["b", "a", None, "a"]) == "a"
    assert majority([None]) is None


def test_the_voters_of_the_team_file_search_both_registers_and_end_in_an_answer():
    team = tomllib.loads((ROOT / "pipeline/configs/teams/voters.toml").read_text())
    assert team["topology"] == Voting.name
    assert (Voting.answerer, Voting.value) == ("player", "recount")
    for agent in (*team["agents"], team["solo"]):
        assert agent["tools"] == {"search": "registers"}
        said = [answered for _, answered in agent["examples"]]
        assert all(text.startswith("search: ") or vote(text) for text in said)
        towns = {result.split()[-1].rstrip(".").lower() for result, _ in agent["examples"][2::3]}
        assert {vote(text) for text in said[2::3]} == towns
    assert [agent["role"] for agent in team["agents"]] == ["voter"] * 3
    assert [Path(name).name for name in team["tools"]["registers"]["documents"]] == ["owners.jsonl", "homes.jsonl"]
