"""Policies: what speaks, one per agent, by default the team's. Nothing else knows what stands behind one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from apportion.pipeline.core.config import Config, ModelConfig
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest
from apportion.pipeline.engines import checkpoints, running
from apportion.pipeline.engines.base import Engine, Voice
from apportion.pipeline.engines.checkpoints import check_window, fingerprint, provenance, resolve_dtype, resolve_model

_KEY = re.compile(r"(?<![\w.])model\.(?=path|hub|max_model_len)")


@dataclass(frozen=True)
class Policy:
    """What turns are written by: a local checkpoint in an engine of this process.

    A served model would be another one: who uses a policy asks for its id, row, tokenizer and engine, and for a folder
    only to train from.
    """

    name: str
    """Of its table in the configuration; empty: the team's, `[model]`."""
    model: ModelConfig
    data_root: Path
    written: str
    """Its path as the user wrote it."""

    @property
    def key(self) -> str:
        """The section of the configuration that describes it."""
        return f"policies.{self.name}" if self.name else "model"

    @cached_property
    def checkpoint(self) -> Path:
        """The folder that training starts from. Raises UserError where there is none, or for too large a window."""
        with self._named():
            path = resolve_model(self.model.path, data_root=self.data_root, hub=self.model.hub)
            check_window(path, self.model.max_model_len)
        return path

    @property
    def digests(self) -> tuple[str, str]:
        """Of its weights and of its tokenizer."""
        with self._named():
            return fingerprint(self.checkpoint)

    @property
    def id(self) -> str:
        """As it stands in `policies` and beside every message."""
        return "p" + digest(list(self.digests))

    @property
    def scorer(self) -> str:
        """Digest of whatever changes a log-probability: weights, tokenizer, arithmetic."""
        return digest([*self.digests, resolve_dtype(self.model.dtype)])

    @property
    def row(self) -> dict[str, Any]:
        """Its row of `policies`; a trained checkpoint tells what it came from."""
        weights, tokenizer = self.digests
        own = {"base": self.written, "weights_digest": weights, "tokenizer_digest": tokenizer, "version": 0}
        return {"policy_id": self.id, **own, **provenance(self.checkpoint)}

    def at(self, path: str) -> Policy:
        """The same policy with the weights at `path`."""
        return replace(self, model=self.model.model_copy(update={"path": path}), written=path)

    def check(self) -> None:
        """Raise UserError where its configuration or the heads of its weights cannot be read."""
        with self._named():
            checkpoints.check_whole(self.checkpoint)

    def tokenizer(self) -> Any:
        """Its tokenizer alone. Raises UserError where it is not whole, or cannot be prompted as a chat."""
        self.check()
        with self._named():
            return running.tokenizer_for(self.model, self.data_root)

    def engine(self, *beside: Engine) -> Engine:
        """Its engine, started at the first use; engines `beside` keep their weights."""
        with self._named():
            return running.engine_for(self.model, self.data_root, *([beside] if beside else []))

    @contextmanager
    def _named(self) -> Iterator[None]:
        """What is refused names the section of this policy."""
        try:
            yield
        except UserError as error:
            raise UserError(_KEY.sub(f"{self.key}.", str(error))) from error


@dataclass(frozen=True)
class Policies:
    """The policies of a team and of the same model alone."""

    by_name: Mapping[str, Policy]
    """The team's, called "", and those that agents have of their own."""
    own: Mapping[str, str]
    """Agent -> name of its policy, where it has one of its own."""
    solo: str
    """Name of the policy that plays alone."""

    @property
    def team(self) -> Policy:
        return self.by_name[""]

    @cached_property
    def id(self) -> str:
        """Of all together: ids of rollouts depend on every policy. The team's where there is no other."""
        ids = [[name, policy.id] for name, policy in self.by_name.items()]
        return self.team.id if len(ids) == 1 else "p" + digest(ids)

    @cached_property
    def sampler(self) -> str:
        """Digest of whatever changes what is sampled from them: as `scorer`, of all together."""
        scorers = [[name, policy.scorer] for name, policy in self.by_name.items()]
        return self.team.scorer if len(scorers) == 1 else digest(scorers)

    def rows(self) -> list[dict[str, Any]]:
        """Rows of `policies`, one for each."""
        return list({policy.id: policy.row for policy in self.by_name.values()}.values())

    def named(self, name: str) -> Policy:
        """The policy called `name`. Raises UserError with the nearest."""
        if name not in self.by_name:
            near = difflib.get_close_matches(name, self.by_name, 1, 0.5)
            known = ", ".join(filter(None, self.by_name)) or "none but the team's"
            cure = f"did you mean {near[0]!r}?" if near else f"there are: {known}"
            raise UserError(f"policy {name!r}: no agent has a policy of that name; {cure}")
        return self.by_name[name]

    def of(self, agents: Iterable[str], *, solo: bool = False) -> dict[str, Policy]:
        """The policy of every agent; `solo`: of who plays alone."""
        return {agent: self.by_name[self.solo if solo else self.own.get(agent, "")] for agent in agents}


def voices_of(policies: Mapping[str, Policy]) -> dict[str, Voice]:
    """Agents' policies ready to speak, each in an engine with the weights of its own, beside the others'."""
    engines: dict[str, Engine] = {}
    for policy in policies.values():
        if policy.name not in engines:
            engines[policy.name] = policy.engine(*engines.values())
    return {agent: Voice(policy.id, engines[policy.name]) for agent, policy in policies.items()}


def tokenizers_of(policies: Mapping[str, Policy]) -> dict[str, Any]:
    """Agents' tokenizers, each policy's loaded once. Raises UserError for a policy that cannot be prompted."""
    tokenizers = {policy.name: policy.tokenizer() for policy in {one.name: one for one in policies.values()}.values()}
    return {agent: tokenizers[policy.name] for agent, policy in policies.items()}


def policies_of(config: Config) -> Policies:
    """The policies that the configuration names."""
    names = ("", *config.team.policies)
    models = {name: config.policy(name) for name in names}
    return Policies(
        {name: Policy(name, models[name], config.data_root, config.as_written(models[name].path)) for name in names},
        {agent.name: agent.policy for agent in config.team.agents if agent.policy},
        config.team.solo.policy if config.team.solo else "",
    )
