"""Stage: a verb of the road. The machinery that all share stands here once; a stage says what is its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Generic, Protocol, TypeVar

from apportion.pipeline.runs.run import Run


class Shard(Protocol):
    """One unit of work: committed whole under its name, and done again where its fingerprint is another."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Digest of everything that its rows depend on."""
        ...


S = TypeVar("S", bound=Shard)
R = TypeVar("R")


class Stage(ABC, Generic[S, R]):
    """A verb on a run. Making one checks everything that can be checked without a model, and writes nothing.

    Whoever plays a stage (a flow, a test) holds the run's lock, calls `begin`, `work` for every pending shard, and
    `finish`; a shard that stands is never done again, so the same command resumes.
    """

    verb: ClassVar[str]
    writes: ClassVar[tuple[str, ...]]
    """Tables of every shard: with all of them there, whole and of its fingerprint, the shard stands."""

    scheduled: ClassVar[bool] = True
    """Whether it is long enough to be played by a flow."""

    run: Run
    shards: Sequence[S]

    @property
    def pending(self) -> tuple[S, ...]:
        """The shards that are to be done."""
        return tuple(shard for shard in self.shards if not self.stands(shard))

    def stands(self, shard: S) -> bool:
        """Whether nothing is to be done for a shard."""
        return self.run.stands(shard.name, shard.fingerprint, self.writes)

    def ready(self) -> None:
        """Raise UserError for what the pending shards would be refused for; no model is started."""
        self.run.refuse_held()

    def begin(self) -> None:
        """What is done before the first shard, under the run's lock."""
        self.run.store.sweep(self.run.id)

    @abstractmethod
    def work(self, shard: S) -> R:
        """Do one shard and commit its tables, the one that tells that it is done last."""

    def finish(self, results: Sequence[R]) -> None:
        """What is done after the last shard, under the run's lock."""

    @abstractmethod
    def foretell(self) -> Iterable[str]:
        """What a dry run says: the work that is pending, what it costs, and what will be left out and why."""


NOTHING = "all that is asked for is current: nothing would be done"
"""What a dry run says last where nothing is pending."""


def play(stage: Stage[S, R]) -> list[R]:
    """Do what is pending of a stage, without a flow around it."""
    with stage.run.lock():
        stage.begin()
        results = [stage.work(shard) for shard in stage.pending]
        stage.finish(results)
    return results
