"""A thinker who prepares, and a solver who reads the thought and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from apportion.pipeline.teams.base import Agent, Conversation, Play, Topology
from apportion.pipeline.teams.solo import ANSWER, use_tools


class ThinkSolve(Topology):
    """The thinker sees the question and writes once; the solver sees the question and the thought, and answers.

    Either may use its tools before it writes; what they found stays with the one who asked. The solver's answer is its
    `answer: ...` line; a solver without tools may also answer in plain words. The answer is the solver's own move: were
    it the outcome channel, the solver would never earn any credit.
    Status: ours.
    """

    name: ClassVar[str] = "think_solve"
    answerer: ClassVar[str] = "player"

    def check(self, agents: Sequence[Agent]) -> None:
        """One of each role."""
        roles = [agent.role for agent in agents]
        if (roles.count("thinker"), roles.count("solver")) != (1, 1):
            raise ValueError("a think_solve team needs exactly one thinker and one solver")

    def play(self, talk: Conversation) -> Play:
        """One conversation: one thought, one answer."""
        (thinker,) = talk.by_role("thinker")
        (solver,) = talk.by_role("solver")
        thought = yield from use_tools(talk, thinker.name, [talk.question], talk.new_call(), 0)
        thought.recipient = solver.name
        message = yield from use_tools(talk, solver.name, [talk.question, thought.index])
        answer = ANSWER.search(message.text)
        if answer or not solver.tools:
            talk.answer(message, answer.group(1) if answer else message.text)
