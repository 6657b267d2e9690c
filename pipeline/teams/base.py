"""What a team is made of: agents, the conversation that they write, and the protocol of a topology."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from apportion.pipeline.core.errors import WorkError
from apportion.pipeline.core.limits import limited
from apportion.pipeline.core.registry import Method
from apportion.pipeline.tools.base import Tool, ToolResult
from apportion.pipeline.trajectory.task import Task

USER = "user"


@dataclass(frozen=True)
class Agent:
    """A member of a team: its fixed instructions, worked examples and tools.

    `examples`: (what is said to it, what it answers) pairs, put before the conversation as chat turns.
    `tools`: the verb that it writes -> the team's tool of that name.
    """

    name: str
    role: str
    system: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Message:
    """One row of the `messages` table in the making."""

    index: int
    agent: str
    role: str
    kind: str
    text: str
    context: tuple[int, ...] = ()
    call_id: int = 0
    parent_call_id: int | None = None
    recipient: str | None = None
    tool_name: str | None = None
    tool_input: str | None = None
    tool_valid: bool | None = None
    is_outcome: bool = False
    examples: tuple[tuple[str, str], ...] = ()
    prompt_ids: tuple[int, ...] | None = None
    completion_ids: tuple[int, ...] | None = None
    sampling_logprobs: tuple[float, ...] | None = None
    finish_reason: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Scripted:
    """A recorded message that a conversation is made to repeat: agents' turns and tool results as they were."""

    agent: str
    role: str
    text: str
    valid: bool = True
    """Tool results: whether the call was well-formed and the tool ran."""


class DivergedError(WorkError):
    """The conversation did not ask for the recorded message: it cannot be repeated."""


@dataclass(frozen=True)
class Turn:
    """A turn that `agent` is to write with the messages of `view` before its eyes."""

    agent: str
    view: tuple[int, ...]
    call_id: int = 0
    parent_call_id: int | None = None


Play = Generator[list[Turn], list[Message], None]
"""Yields the turns wanted next; is sent the messages written for them, in the same order."""


class Topology(Method, ABC):
    """How a team works on a task.

    A user's own needs no base class: `name`, `answerer` and `play` are enough.
    """

    name: ClassVar[str]
    answerer: ClassVar[str]
    """Whether the answering message is the `outcome` channel, which is nobody's, or its writer's own `player` move."""
    value: ClassVar[str] = "likelihood"
    """The value function that fits its games."""

    def check(self, agents: Sequence[Agent]) -> None:
        """Raise ValueError, which says what is wanted, where these agents cannot play it."""

    @abstractmethod
    def play(self, talk: Conversation) -> Play:
        """Drive one conversation to its end; call `talk.answer(message, text)` when the team has answered."""


class Conversation:
    """The growing record of one rollout."""

    def __init__(
        self,
        task: Task,
        agents: Sequence[Agent],
        tools: Mapping[str, Tool],
        max_turns: int,
        script: Sequence[Scripted] = (),
    ) -> None:
        self.task = task
        self.script = script
        self.agents = {agent.name: agent for agent in agents}
        self.tools = tools
        self.max_turns = max_turns
        self.messages: list[Message] = []
        self.final_answer: str | None = None
        self.error: str | None = None
        self.fault = False
        """Whether the error is no doing of the agents: a tool's or a team's own code failed."""
        self.diverged = False
        self._calls = 0
        self._system = {
            agent.name: self._add(
                Message(0, agent.name, "system", "system", agent.system, examples=agent.examples)
            ).index
            for agent in agents
        }
        self.question = self._add(Message(0, USER, "user", "task", task.question)).index

    def by_role(self, role: str) -> list[Agent]:
        """The agents of that role, in the team file's order."""
        return [agent for agent in self.agents.values() if agent.role == role]

    def turn(self, agent: str, view: Sequence[int], call_id: int = 0, parent: int | None = None) -> Turn:
        """Ask `agent` for a turn; its own instructions are always in view."""
        if agent not in self.agents:
            raise ValueError(f"no agent {agent!r} in the team ({', '.join(self.agents)})")
        return Turn(agent, (self._system[agent], *view), call_id, parent)

    def new_call(self) -> int:
        """The id of a fresh call of an agent (0 is the call that the task itself makes)."""
        self._calls += 1
        return self._calls

    def write(self, turn: Turn, text: str) -> Message:
        """Record what the agent wrote for `turn`."""
        return self._add(
            Message(0, turn.agent, "assistant", "message", text, turn.view, turn.call_id, turn.parent_call_id)
        )

    def use_tool(self, message: Message, verb: str, argument: str) -> Message:
        """Run the tool that `message` asked for; its result belongs to the agent that asked."""
        name = self.agents[message.agent].tools[verb]
        recorded = self.scripted(len(self.messages))
        result = ToolResult(recorded.text, recorded.valid) if recorded else self._run(name, argument)
        message.tool_name, message.tool_input, message.tool_valid = name, argument, result.valid
        return self._add(
            Message(
                0, message.agent, "tool", "tool_result", result.text,
                call_id=message.call_id, parent_call_id=message.parent_call_id,
                recipient=message.agent, tool_name=name, tool_valid=result.valid,
            )
        )  # fmt: skip

    def _run(self, name: str, argument: str) -> ToolResult:
        with limited(f"tool {name}"):
            return self.tools[name].run(argument)

    def remind(self, message: Message, text: str) -> Message:
        """Tell the agent that its last message could not be read, and what can be."""
        return self._add(
            Message(
                0, USER, "user", "notice", text, call_id=message.call_id, parent_call_id=message.parent_call_id,
                recipient=message.agent,
            )
        )  # fmt: skip

    def answer(self, message: Message, text: str) -> None:
        """`message` is the team's answer, and `text` what it answers; an earlier answer is taken back."""
        for earlier in self.messages:
            earlier.is_outcome = False
        message.is_outcome = True
        self.final_answer = text

    def scripted(self, index: int) -> Scripted | None:
        """The recorded message that must stand at `index`, if the script reaches so far."""
        return self.script[index] if index < len(self.script) else None

    def _add(self, message: Message) -> Message:
        message.index = len(self.messages)
        recorded = self.scripted(message.index)
        if recorded and (recorded.agent, recorded.role) != (message.agent, message.role):
            raise DivergedError(
                f"replay diverged at message {message.index}: {recorded.agent} ({recorded.role}) was recorded, "
                f"{message.agent} ({message.role}) came; a topology must depend on its messages alone"
            )
        self.messages.append(message)
        return message


def together(
    plays: Sequence[Generator[list[Turn], list[Message], Message]],
) -> Generator[list[Turn], list[Message], list[Message]]:
    """Run several calls side by side: their turns of one round are asked for at once. Returns each one's result."""
    results: list[Message | None] = [None] * len(plays)
    asked: dict[int, list[Turn]] = {}

    def advance(position: int, written: list[Message] | None) -> None:
        try:
            play = plays[position]
            asked[position] = play.send(written) if written is not None else next(play)
        except StopIteration as stop:
            asked.pop(position, None)
            results[position] = stop.value

    for position in range(len(plays)):
        advance(position, None)
    while asked:
        order = list(asked)
        counts = [len(asked[position]) for position in order]
        written = yield [turn for position in order for turn in asked[position]]
        start = 0
        for position, count in zip(order, counts, strict=True):
            advance(position, written[start : start + count])
            start += count
    return [result for result in results if result is not None]
