"""A planner that spawns calls of its workers, reads their reports and answers."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import ClassVar

from apportion.pipeline.teams.base import Agent, Conversation, Message, Play, Topology, Turn, together
from apportion.pipeline.teams.solo import ANSWER, use_tools

ASK = re.compile(r"^\s*ask\s+([\w-]+)\s*:\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
HINT = "Write 'ask NAME: question' or 'answer: ...'."


class PlannerWorkers(Topology):
    """The planner writes `ask NAME: question` lines (one call each, side by side) or `answer: ...`.

    A worker sees only the message that called it, uses its tools, and reports; the planner sees only the reports.
    The planner's answering message is the outcome channel: it is no player of the credit game.
    Status: ours. Were the answer the planner's own move, its credit would be all of the outcome: nothing is answered
    without it. Degenerate: a planner that never answers within `team.max_turns` leaves the run without an answer.
    """

    name: ClassVar[str] = "planner_workers"
    answerer: ClassVar[str] = "outcome"

    def check(self, agents: Sequence[Agent]) -> None:
        """Exactly one planner."""
        if [agent.role for agent in agents].count("planner") != 1:
            raise ValueError("a planner_workers team needs exactly one agent with role = 'planner'")

    def play(self, talk: Conversation) -> Play:
        """One conversation: at most `talk.max_turns` turns of the planner."""
        planner = talk.by_role("planner")[0].name
        view = [talk.question]
        for _ in range(talk.max_turns):
            (message,) = yield [talk.turn(planner, view)]
            view.append(message.index)
            answer = ANSWER.search(message.text)
            if answer:
                talk.answer(message, answer.group(1))
                return
            asked = [name for name, _ in ASK.findall(message.text) if name in talk.agents and name != planner]
            if asked:
                message.recipient = ",".join(asked)
                reports = yield from together([self._call(talk, name, message) for name in asked])
                view += [report.index for report in reports]
            else:
                view.append(talk.remind(message, HINT).index)

    def _call(
        self, talk: Conversation, worker: str, delegation: Message
    ) -> Generator[list[Turn], list[Message], Message]:
        report = yield from use_tools(talk, worker, [delegation.index], talk.new_call(), delegation.call_id)
        report.recipient = delegation.agent
        return report
