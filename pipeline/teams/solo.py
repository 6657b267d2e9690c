"""One agent alone, with tools; and the tool loop that workers share with it."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import ClassVar

from apportion.pipeline.teams.base import Agent, Conversation, Message, Play, Topology, Turn

ANSWER = re.compile(r"^\s*answer\s*:\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)


class Solo(Topology):
    """The baseline: the same model alone on the same task, with every tool of the team in its own hands.

    It is the outcome channel and has nobody to share credit with; a message without a tool call is its answer.
    Status: ours, the baseline that a team must beat.
    """

    name: ClassVar[str] = "solo"
    answerer: ClassVar[str] = "outcome"

    def check(self, agents: Sequence[Agent]) -> None:
        """One agent."""
        if len(agents) != 1:
            raise ValueError(f"a solo team has one agent, not {len(agents)}")

    def play(self, talk: Conversation) -> Play:
        """One conversation: tool calls until the agent answers."""
        (agent,) = talk.agents
        message = yield from use_tools(talk, agent, [talk.question])
        answer = ANSWER.search(message.text)
        if answer or not _tool_call(talk, message):
            talk.answer(message, answer.group(1) if answer else message.text)


def use_tools(
    talk: Conversation, agent: str, view: Sequence[int], call_id: int = 0, parent: int | None = None
) -> Generator[list[Turn], list[Message], Message]:
    """Let `agent` write `verb: argument` lines and run its tools until it writes something else (returned)."""
    seen = list(view)
    for turn in range(talk.max_turns):
        (message,) = yield [talk.turn(agent, seen, call_id, parent)]
        called = _tool_call(talk, message)
        if not called or turn == talk.max_turns - 1:
            break
        seen += [message.index, talk.use_tool(message, *called).index]
    return message


def _tool_call(talk: Conversation, message: Message) -> tuple[str, str] | None:
    verb, colon, argument = message.text.strip().partition(":")
    verb = verb.strip().lower()
    known = talk.agents[message.agent].tools
    return (verb, argument.strip().splitlines()[0] if argument.strip() else "") if colon and verb in known else None
