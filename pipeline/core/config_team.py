"""The sections of a configuration that say who speaks: models, agents, their tools and their team."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field

from apportion.pipeline.core.config_sections import Methods, Options, Section, named
from apportion.pipeline.core.ids import MAX_NAME
from apportion.pipeline.core.registry import family

TOKENS = 2**24
"""More tokens than any model's context or vocabulary holds."""
PolicyName = Annotated[str, Field(pattern=r"^[A-Za-z][\w-]*$", max_length=MAX_NAME)]


class ModelConfig(Section):
    path: str = "smollm2"
    """`smollm2` (embedded), a checkpoint folder, or with `hub` an id of the Hugging Face hub."""
    hub: bool = False
    """Let the hub be reached; off by default."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: the checkpoint's own on a GPU; on a CPU bfloat16 where the processor computes in it, else float32."""
    max_model_len: int = Field(4096, ge=64, le=TOKENS)
    """Context window in tokens; at most what the model was trained for."""
    kv_cache_gib: float = Field(2.0, ge=1, le=65_536)
    """Memory for keys and values on a CPU."""
    gpu_memory: float = Field(0.5, gt=0, le=1)
    """Share of a GPU's memory that the sampler keeps; a trainer beside it (`loop`) needs the rest."""
    sync_tolerance: float | None = Field(None, gt=0, le=100)
    """New weights in a running engine are compared with the checkpoint's, number by number. Then a few fixed tokens are
    scored: the work stops where they differ from plain transformers by more than this (nats per token, rms). By
    default three times as much as they did on the engine's first weights."""


class ToolConfig(Section):
    kind: Annotated[str, named("tools")]
    """search, calculator, or the path of a class with `run`."""
    documents: str | list[str] = []
    """search: one or several files, a document per line."""
    k: int = Field(1, ge=1, le=1_000_000)
    """search: documents returned."""
    options: Options = {}
    """Parameters of a tool of your own."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What the tool is made with. `documents` and `k` are of the tools that come with the package."""
        given = {} if family("tools").is_own(self.kind) else self.model_dump(include={"documents", "k"})
        return {name: value for name, value in given.items() if value != type(self).model_fields[name].default} | (
            self.options
        )


class AgentConfig(Section):
    name: str = Field(pattern=r"^[A-Za-z][\w-]*$", max_length=MAX_NAME)
    """As it stands in the tables."""
    role: str
    """planner, worker, ...: credit and advantages are compared within a role."""
    system: str = ""
    """Its instructions."""
    examples: list[tuple[str, str]] = []
    """(what is said to it, what it answers): worked examples, shown before the conversation."""
    tools: dict[str, str] = {}
    """The verb that the agent writes -> the tool's name."""
    policy: str = ""
    """What writes its turns: the name of a `[policies.NAME]`. Empty: the team's, `[model]`."""


class TeamConfig(Methods):
    family = "teams"
    name: str = ""
    """As it stands in the tables."""
    topology: Annotated[str, named("teams")] = "planner_workers"
    """Who speaks when: planner_workers, think_solve, voting, solo, or the path of a class with `play`."""
    options: Options = {}
    """Parameters of a topology of your own."""
    max_turns: int = Field(6, ge=1, le=10_000)
    """Turns of an agent in one call."""
    agents: list[AgentConfig] = []
    """Who plays."""
    tools: dict[str, ToolConfig] = {}
    """Tools by name; an agent names those that it may use."""
    solo: AgentConfig | None = None
    """The same model alone, for comparison. Without it: no instructions, no tools."""

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of the policies that its agents have of their own, sorted."""
        return tuple(sorted({agent.policy for agent in (*self.agents, *filter(None, [self.solo])) if agent.policy}))

    def refuse_unknown(self, policies: Collection[str]) -> None:
        """Raise ValueError where an agent names a policy that is none of these."""
        for agent in (*self.agents, *filter(None, [self.solo])):
            if agent.policy and agent.policy not in policies:
                near = difflib.get_close_matches(agent.policy, policies, 1, 0.5)
                known = ", ".join(policies) or "none"
                cure = f"did you mean {near[0]!r}?" if near else f"there are: {known}; add [policies.{agent.policy}]"
                raise ValueError(f"team.agents: {agent.name!r} has policy {agent.policy!r}, which is not there; {cure}")
