"""From the `[team]` section to topology, agents and tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apportion.pipeline.core.config import AgentConfig, Config, TeamConfig, ToolConfig
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.registry import family
from apportion.pipeline.teams.base import Agent, Conversation, Scripted, Topology
from apportion.pipeline.tools.base import Tool
from apportion.pipeline.trajectory.task import Task


@dataclass(frozen=True)
class Team:
    """A team ready to play."""

    name: str
    topology: Topology
    agents: tuple[Agent, ...]
    tools: Mapping[str, Tool]
    max_turns: int

    def talk(self, task: Task, script: Sequence[Scripted] = ()) -> Conversation:
        """A fresh conversation about `task`, which repeats `script` before anything new is said."""
        return Conversation(task, self.agents, self.tools, self.max_turns, script)


def load_team(config: TeamConfig) -> tuple[Team, Team]:
    """The team, and the same model alone with the same tools. Raises UserError naming the faulty key."""
    topology = load_topology(config)
    agents = tuple(_agent(agent, config) for agent in config.agents)
    if not agents:
        raise UserError("config: team.agents is empty; name a team file: --set team.file=configs/teams/clerks.toml")
    names = [agent.name for agent in agents]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise UserError(f"config: team.agents: {sorted(doubled)[0]!r} is named twice")
    try:
        if check := getattr(topology, "check", None):
            check(agents)
    except ValueError as error:
        raise UserError(f"config: team.agents: {error}") from error
    tools = {name: _tool(name, tool) for name, tool in config.tools.items()}
    alone = _agent(config.solo, config) if config.solo else Agent("solo", "solo")
    return (
        Team(config.name or topology.name, topology, agents, tools, config.max_turns),
        Team("solo", family("teams").make("solo"), (alone,), tools, config.max_turns),
    )


def load_topology(config: TeamConfig) -> Topology:
    """The topology of a team, with its parameters."""
    topology: Topology = config.make(config.topology)
    if topology.answerer not in ("outcome", "player"):
        raise UserError(f"team.topology = {config.topology!r}: answerer = {topology.answerer!r}; outcome or player")
    return topology


@dataclass(frozen=True)
class Nature:
    """What must be known of a topology to plan an annotation. A run's manifest keeps it: a dry run imports no code."""

    name: str
    answerer: str
    value: str


def nature_of(topology: Topology) -> Nature:
    """The nature of a topology at hand; a user's own may name no value function."""
    return Nature(topology.name, topology.answerer, str(getattr(topology, "value", "likelihood")))


def nature_for(config: Config, manifest: Mapping[str, Any] | None, *, dry: bool) -> tuple[Nature, str]:
    """The nature of the configured topology, and what of it is assumed.

    A dry run imports no code of the team's own: it reads the run's manifest, and assumes where that says nothing.
    """
    path = config.sampling()["team"]["topology"]
    if not (dry and family("teams").is_own(path)):
        return nature_of(load_topology(config.team)), ""
    told = (manifest or {}).get("topology")
    if isinstance(told, dict) and told.get("path") == path:
        return Nature(str(told.get("name")), str(told.get("answerer")), str(told.get("value"))), ""
    assumed = Nature(path, "player", "likelihood")
    return assumed, (
        f"a dry run does not import team.topology = {path!r}: counted as if its games were worth a {assumed.value} and "
        f"its answer were a {assumed.answerer}'s move (annotate.value and annotate.answerer say otherwise)"
    )


def _agent(config: AgentConfig, team: TeamConfig) -> Agent:
    for verb, tool in config.tools.items():
        if tool not in team.tools:
            known = ", ".join(sorted(team.tools)) or "none"
            raise UserError(f"config: team.agents: {config.name!r} uses tool {tool!r} as {verb!r}; known: {known}")
    return Agent(config.name, config.role, config.system, tuple(config.examples), dict(config.tools))


def _tool(name: str, config: ToolConfig) -> Tool:
    try:
        tool: Tool = family("tools").make(config.kind, config.parameters)
    except UserError as error:
        raise UserError(f"team.tools.{name}: {error}") from error
    return tool
