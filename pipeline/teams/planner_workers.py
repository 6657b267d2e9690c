"""A planner that spawns calls of its workers, reads their reports and answers."""

from __future__ import annotations

import re
from collections.abc import Generator

from apportion.pipeline.teams.base import Conversation, Message, Play, Turn, together
from apportion.pipeline.teams.solo import ANSWER, use_tools

ASK = re.compile(r"^\s*ask\s+([\w-]+)\s*:\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
HINT = "Write 'ask NAME: question' or 'answer: ...'."


class PlannerWorkers:
    """The planner writes `ask NAME: question` lines (one call each, side by side) or `answer: ...`.

    A worker sees only the message that called it, uses its tools, and reports; the planner sees only the reports.
    The planner's answering message is the outcome channel: it is no player of the credit game (methods, section 1).
    """

    name = "planner_workers"
    answerer = "outcome"

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
