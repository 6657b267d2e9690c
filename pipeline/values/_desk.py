"""What a value function works with: engine, verifier, bench and the logs, each opened when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import WorkError
from apportion.pipeline.core.limits import limited
from apportion.pipeline.core.progress import watcher
from apportion.pipeline.engines.base import Engine, Voice, reset
from apportion.pipeline.engines.policy import policies_of, voices_of
from apportion.pipeline.play.continuation import Bench
from apportion.pipeline.play.play import Played
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.verifiers import get_verifier
from apportion.pipeline.verifiers.base import Verdict


@dataclass
class Desk:
    """For the games of one shard. A dry run brings a tokenizer of its own, and starts no engine."""

    config: Config
    logs: Mapping[str, Log]
    """By trajectory."""
    title: str = ""
    total: int = 0
    """What the bar of the progress is called, and how many coalitions there are."""
    dry_tokenizer: Any = None

    @cached_property
    def engine(self) -> Engine:
        """What scores: the engine of the team's policy, with an empty cache."""
        engine = policies_of(self.config).team.engine()
        engine.reset_prefix_cache()
        return engine

    @property
    def tokenizer(self) -> Any:
        return self.engine.tokenizer if self.dry_tokenizer is None else self.dry_tokenizer

    @cached_property
    def _voices(self) -> Mapping[str, Voice]:
        """Of every agent, with empty caches."""
        agents = [agent.name for agent in self.config.team.agents]
        voices = voices_of(policies_of(self.config).of(["", *agents]))
        reset(voices)
        return voices

    def voice(self, agent: str) -> Voice:
        """What an agent speaks with; one that is not of the team: the team's policy."""
        return self._voices.get(agent, self._voices[""])

    def tokenizer_of(self, agent: str) -> Any:
        """The tokenizer of what an agent speaks with. A dry run counts by the team's."""
        return self.voice(agent).engine.tokenizer if self.dry_tokenizer is None else self.dry_tokenizer

    @cached_property
    def bench(self) -> Bench:
        """Where the run is played on."""
        return Bench.open(self.config)

    @property
    def played(self) -> list[tuple[Played, dict[str, Any]]]:
        """What was played on the bench so far, with its rows of `trajectories`."""
        return self.bench.played if "bench" in self.__dict__ else []

    @cached_property
    def verifier(self) -> Guarded:
        return Guarded(self.config)

    @cached_property
    def done(self) -> Callable[[int], None]:
        """Tell that so many more coalitions are valued."""
        return watcher().start(self.title, self.total)


class Guarded:
    """The configured verifier; what it raises ends the shard with one line, and nothing of it is committed."""

    def __init__(self, config: Config) -> None:
        self.name = config.tasks.verifier
        self._inner = get_verifier(self.name, **config.tasks.verifier_options)

    def verify(self, answer: str, references: Sequence[str]) -> Verdict:
        """The verdict. Raises WorkError."""
        try:
            with limited(f"verifier {self.name}"):
                return self._inner.verify(answer, references)
        except Exception as fault:  # a verifier of the user's own
            raise WorkError(f"verifier {self.name}: {type(fault).__name__}: {fault}, on answer {answer!r}") from fault
