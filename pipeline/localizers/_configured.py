"""The localizers that a configuration asks for: which one looks at a shard, and what its rows depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.dry_run import is_dry
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import file_digest
from apportion.pipeline.core.registry import family
from apportion.pipeline.engines.base import Engine
from apportion.pipeline.engines.policy import policies_of
from apportion.pipeline.localizers.base import Continue, Localizer, Means, Needs, label, make

STAND_IN = "learned"
"""Looks at imported logs where the configured localizer, `monte_carlo`, would have to continue them."""


@dataclass(frozen=True)
class Configured:
    """A configuration's localizer, called `kind`, and the stand-in beside it."""

    config: Config

    @cached_property
    def kind(self) -> str:
        """What the rows are marked by."""
        return label(self.config.failures.localizer)

    @property
    def is_own(self) -> bool:
        """Whether it is a user's own."""
        return family("localizers").is_own(self.config.failures.localizer)

    @property
    def loads(self) -> bool:
        """Whether it may be loaded: a dry run imports no code of the user's own."""
        return not (is_dry() and self.is_own)

    @cached_property
    def localizer(self) -> Localizer:
        """Raises UserError where one of the user's own cannot be loaded."""
        section = self.config.failures
        section.refuse_idle_options(section.localizer)
        return make(section.localizer, section.parameters(self._key))

    @property
    def _key(self) -> str:
        return self.config.failures.localizer if self.is_own else self.kind

    def kind_for(self, imported: bool) -> str:
        """The localizer of a shard."""
        return STAND_IN if imported and self.kind == "monte_carlo" else self.kind

    def by_name(self, kind: str) -> bool:
        """Whether it was asked for by name; a stand-in speaks of logs like its own alone."""
        return kind == self.kind

    def method(self, kind: str, imported: bool) -> Localizer:
        """What looks at a shard. Raises UserError where it would have to continue imported logs."""
        if not self.by_name(kind):
            return make(kind, self.config.failures.parameters(kind))
        if imported and self.localizer.needs is Needs.CONTINUATIONS:
            raise UserError(
                f"failures.localizer = {self.config.failures.localizer!r} continues runs, and imported logs cannot be "
                "continued: choose learned or value_drop"
            )
        return self.localizer

    def means(self, play: Continue | None = None) -> Means:
        """What it gets; `play` continues rollouts, where the run can be continued."""
        config = self.config
        return Means(self._engine, play, config.annotate.cue, config.model.max_model_len, config.run.seed)

    def spec(self, kind: str, scorer: str, sources: Sequence[str | None]) -> list[Any]:
        """What the rows depend on, beside the keys of `failures` that all share and the shard's own trajectories.

        `scorer` is the model's fingerprint; `sources` those of all trajectories of the run, which may hold labels.
        """
        section = self.config.failures
        asked = [scorer, self.config.annotate.cue, self.config.model.max_model_len]
        if self.is_own and self.by_name(kind):
            file = Path(section.localizer.rpartition(":")[0])
            code = file_digest(file) if file.suffix == ".py" and file.is_file() else section.localizer
            return [*asked, code, section.options, sources]
        parameters = section.parameters(kind)
        method = make(kind, parameters)
        spec: list[Any] = asked if method.needs is Needs.SCORER or method.weights else []
        if method.weights:
            spec = [*spec, method.weights, self.by_name(kind)]
        if more := {key: value for key, value in parameters.items() if value != getattr(section, key, None)}:
            spec = [*spec, more]
        return [*spec, sources] if method.learns and method.trained_on is None else spec

    def _engine(self) -> Engine:
        engine = policies_of(self.config).team.engine()
        engine.reset_prefix_cache()
        return engine
