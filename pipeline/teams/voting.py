"""Voters who answer alone, and the majority that decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from apportion.pipeline.teams.base import Agent, Conversation, Play, Topology, together
from apportion.pipeline.teams.solo import ANSWER, use_tools
from apportion.pipeline.trajectory.answer import normalize


class Voting(Topology):
    """Every agent of role `voter` works on the question alone, all side by side; the most frequent answer wins.

    A vote is the `answer: ...` of a voter's last message, normalized; a voter without one abstains. Of tied answers the
    one whose first voter stands first in the team file wins. The first message that gave the winning answer is the
    outcome message, and its wording is the team's answer. Nobody hears anybody, so a masked view would tell nothing of
    the other voters: the topology's own value function is `recount`, and the answering message is its writer's move.
    Status: source (self-consistency, arXiv 2203.11171), with agents in the place of samples.
    """

    name: ClassVar[str] = "voting"
    answerer: ClassVar[str] = "player"
    value: ClassVar[str] = "recount"

    def check(self, agents: Sequence[Agent]) -> None:
        """At least one voter."""
        if not any(agent.role == "voter" for agent in agents):
            raise ValueError("a voting team needs agents with role = 'voter'")

    def play(self, talk: Conversation) -> Play:
        """One conversation: a call for every voter, then the count."""
        voters = [agent.name for agent in talk.by_role("voter")]
        said = yield from together([use_tools(talk, name, [talk.question], talk.new_call(), 0) for name in voters])
        votes = [vote(message.text) for message in said]
        winner = majority(votes)
        for message in sorted(said, key=lambda message: message.index):
            answer = ANSWER.search(message.text)
            if winner is not None and answer and vote(message.text) == winner:
                talk.answer(message, answer.group(1))
                return


def vote(text: str) -> str | None:
    """The normalized answer that a message gives; None where it gives none, or an empty one."""
    answer = ANSWER.search(text)
    return (normalize(answer.group(1)) or None) if answer else None


def majority(votes: list[str | None]) -> str | None:
    """The most frequent vote, the earliest of the tied ones; None where nobody voted."""
    counted = Counter(one for one in votes if one is not None)
    return max(counted, key=lambda answer: counted[answer], default=None)
