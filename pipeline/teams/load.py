"""From the `[team]` section to topology, agents and tools."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from apportion.pipeline.core.code import load
from apportion.pipeline.core.config import AgentConfig, TeamConfig, ToolConfig
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.teams.base import Agent, Conversation, Scripted, Topology
from apportion.pipeline.teams.planner_workers import PlannerWorkers
from apportion.pipeline.teams.solo import Solo
from apportion.pipeline.teams.think_solve import ThinkSolve
from apportion.pipeline.teams.voting import Voting
from apportion.pipeline.tools.base import Tool
from apportion.pipeline.tools.calculator import Calculator
from apportion.pipeline.tools.search import Search
from apportion.pipeline.trajectory.task import Task

TOPOLOGIES: dict[str, type[Topology]] = {
    "planner_workers": PlannerWorkers,
    "solo": Solo,
    "think_solve": ThinkSolve,
    "voting": Voting,
}
TOOLS = ("calculator", "search")
"""Kinds of tools of our own."""


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
    topology = load_topology(config.topology)
    agents = tuple(_agent(agent, config) for agent in config.agents)
    if not agents:
        raise UserError("config: team.agents is empty; name a team file: --set team.file=configs/teams/clerks.toml")
    names = [agent.name for agent in agents]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise UserError(f"config: team.agents: {sorted(doubled)[0]!r} is named twice")
    roles = [agent.role for agent in agents]
    if config.topology == "planner_workers" and roles.count("planner") != 1:
        raise UserError("config: team.agents: a planner_workers team needs exactly one agent with role = 'planner'")
    if config.topology == "think_solve" and (roles.count("thinker"), roles.count("solver")) != (1, 1):
        raise UserError("config: team.agents: a think_solve team needs exactly one thinker and one solver")
    if config.topology == "voting" and "voter" not in roles:
        raise UserError("config: team.agents: a voting team needs agents with role = 'voter'")
    if config.topology == "solo" and len(agents) != 1:
        raise UserError(f"config: team.agents: a solo team has one agent, not {len(agents)}")
    tools = {name: _tool(name, tool) for name, tool in config.tools.items()}
    alone = _agent(config.solo, config) if config.solo else Agent("solo", "solo")
    return (
        Team(config.name or topology.name, topology, agents, tools, config.max_turns),
        Team("solo", Solo(), (alone,), tools, config.max_turns),
    )


def load_topology(name: str) -> Topology:
    """A topology by its short name or dotted path."""
    if name in TOPOLOGIES:
        return TOPOLOGIES[name]()
    if not is_own(name, TOPOLOGIES):
        raise UserError(
            f"config: team.topology = {name!r}: known are {', '.join(sorted(TOPOLOGIES))}, "
            "or the dotted path of your own class"
        )
    made = load(name)
    try:
        topology: Topology = made() if callable(made) else made
    except TypeError as error:
        raise UserError(f"config: team.topology = {name!r}: it must be made without arguments ({error})") from error
    lacking = [part for part in ("name", "answerer", "play") if not hasattr(topology, part)]
    if lacking:
        raise UserError(f"config: team.topology = {name!r}: it has no {lacking[0]!r}; see examples/dyad.py")
    if topology.answerer not in ("outcome", "player"):
        raise UserError(f"config: team.topology = {name!r}: answerer = {topology.answerer!r}; outcome or player")
    return topology


def is_own(name: str, known: Collection[str]) -> bool:
    """Whether `name` is the dotted path of a user's own code, and none of the `known` short names."""
    return name not in known and ("." in name or ":" in name)


@dataclass(frozen=True)
class Nature:
    """What must be known of a topology to plan an annotation. A run's manifest keeps it: a dry run imports no code."""

    name: str
    answerer: str
    value: str


def nature_of(topology: Topology) -> Nature:
    """The nature of a topology at hand."""
    return Nature(topology.name, topology.answerer, value_of(topology))


def value_of(topology: Topology) -> str:
    """The value function that fits a topology: its own attribute `value`, else likelihood."""
    return str(getattr(topology, "value", "likelihood"))


def _agent(config: AgentConfig, team: TeamConfig) -> Agent:
    for verb, tool in config.tools.items():
        if tool not in team.tools:
            known = ", ".join(sorted(team.tools)) or "none"
            raise UserError(f"config: team.agents: {config.name!r} uses tool {tool!r} as {verb!r}; known: {known}")
    return Agent(config.name, config.role, config.system, tuple(config.examples), dict(config.tools))


def _tool(name: str, config: ToolConfig) -> Tool:
    if config.kind == "calculator":
        return Calculator()
    if config.kind == "search":
        files = [config.documents] if isinstance(config.documents, str) else config.documents
        if not files:
            raise UserError(f"config: team.tools.{name}: a search tool needs documents = 'FILE' or a list of files")
        return Search.from_files(files, config.k)
    tool: Tool = load(config.kind)(**config.options)
    return tool
