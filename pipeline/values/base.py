"""What a value function must answer: which games it plays over a trajectory, and what their coalitions are worth.

A value function is one class in one file. Its parameters are fields; the fields that `[annotate]` has keys for
(`SHARED`) take those unless `[annotate.NAME]` says otherwise. `Masked` is the common case: messages are masked in what
the answering agent saw.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.core.config import AnnotateConfig, Config
from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.core.ids import file_digest
from apportion.pipeline.core.registry import Method, family
from apportion.pipeline.games.game import Game, Rules, build_game
from apportion.pipeline.games.prompts import kept_string
from apportion.pipeline.games.tables import Planned
from apportion.pipeline.trajectory.log import Log

if TYPE_CHECKING:
    from apportion.pipeline.values._desk import Desk

DEFAULT = "likelihood"
"""For logs, which have no topology that could say what fits it."""
SHARED = ("masking", "cue", "answerer", "samples")
"""Keys of `[annotate]` that are parameters of every value function with a field of that name. `Rules` holds them."""
Row = dict[str, Any]
"""A row of a table."""


class Need(StrEnum):
    """What must be there before a value function can work."""

    SCORER = "scorer"
    """An engine that scores, and its tokenizer."""
    SAMPLER = "sampler"
    """An engine that samples, and its tokenizer."""
    VERIFIER = "verifier"
    """The configured verifier."""
    RUN = "run"
    """The team, policy and decoding that the run was sampled with: its rest is played again."""


@dataclass(frozen=True)
class Terms:
    """What a run lays down for its games. `scorer`, `sampler`: digests of what scores, and of what writes turns."""

    config: Config
    scorer: str
    sampler: str
    topology: str
    """Name of the team's topology; empty for imported logs, which have none."""
    value: str
    """The value function that fits the topology."""
    answerer: str
    """Whether the answering message is the channel of the `outcome`, or a move of its writer, a `player`."""

    def resolved(self, answerer: str) -> str:
        """`answerer`, or as the topology says for `auto`."""
        return self.answerer if answerer == "auto" else answerer


@dataclass(frozen=True, eq=False)
class Asked:
    """A game, the coalitions to be valued, shape (M,), and what is asked of an engine for them."""

    game: Game
    masks: NDArray[np.int64]
    requests: tuple[Any, ...] = ()
    """Of masked games one a coalition, in their order."""
    cut_share: float = 0.0
    """Share of the view's tokens that did not fit in the context window."""


class ValueFunction(Method):
    """What a coalition is worth. The docstring of a method says formula, status, degenerate cases and cost."""

    name: ClassVar[str]
    """As it stands in the tables."""
    needs: ClassVar[frozenset[Need]] = frozenset()
    kinds: ClassVar[tuple[str, ...]] = ("agent",)
    """The kinds of players that it can value: agent, message."""
    estimators: ClassVar[tuple[str, ...]] = ()
    """Those that may solve its games, the first where another is configured; empty: all."""
    writes: ClassVar[tuple[str, ...]] = ()
    """Tables that it fills beyond those of every credit: see `further`."""
    no_logs: ClassVar[str] = ""
    """Why imported logs cannot be valued, and the cure; empty where they can."""

    @property
    def own_code(self) -> str:
        """Digest of the file of a user's own: with another its shards are made anew. Empty for those of the package."""
        if type(self).__module__.startswith("apportion.pipeline."):
            return ""
        return file_digest(Path(inspect.getfile(type(self))))

    @property
    def label(self) -> str:
        """Name and parameters beyond those that `Rules` has columns for: other parameters give other games."""
        own = [f"{key}={value!r}" for key, value in self.model_dump().items() if key not in SHARED]
        return f"{self.name}({', '.join(own)})" if own else self.name

    def estimator(self, configured: str) -> str:
        """The name of the estimator that solves the games."""
        return configured if not self.estimators or configured in self.estimators else self.estimators[0]

    def rules(self, terms: Terms) -> Rules:
        """What the games of a run have in common. Raises UserError where they cannot be valued."""
        scorer = terms.sampler if Need.SAMPLER in self.needs else terms.scorer if Need.SCORER in self.needs else ""
        return Rules(self.label, scorer=scorer, answerer=terms.answerer)

    def check(self, config: Config, run: str) -> None:
        """Raise UserError where the run cannot be played on as it must be."""

    @abstractmethod
    def games(self, log: Log, rules: Rules, kind: str, config: Config) -> list[Game]:
        """The games of one trajectory whose players are of a `kind`.

        Raises UserError or ValueError, with the reason, where it has none.
        """

    def affordable(self, planned: Planned, desk: Desk) -> Planned:
        """The game with fewer coalitions, where a budget of its cost asks for it. Raises UserError where none fits."""
        return planned

    def ask(self, game: Game, masks: NDArray[np.int64], desk: Desk) -> Asked:
        """What must be asked to value some coalitions. Raises UserError or ValueError where it cannot be."""
        return Asked(game, masks)

    def cost(self, asked: Sequence[Asked]) -> Mapping[str, int]:
        """Of some games: `samples` at most, or `prompt_tokens` and `distinct_tokens` (without and with shared
        prefixes)."""
        return {"samples": sum(len(one.masks) * (one.game.rules.k or 0) for one in asked)}

    @abstractmethod
    def values(self, asked: Sequence[Asked], desk: Desk) -> Iterator[list[Row] | str]:
        """Game by game the rows of `coalitions`, or why there is no value after all. All games are asked together."""

    def further(self, desk: Desk) -> Mapping[str, list[Row]]:
        """Rows of the tables that it `writes`, once all games were valued."""
        return {}


class Masked(ValueFunction):
    """The view of the answering agent with everyone outside a coalition masked; messages may be players."""

    kinds: ClassVar[tuple[str, ...]] = ("agent", "message")

    masking: Literal["placeholder", "drop"] = "placeholder"
    """What stands in the place of a masked message: a neutral one, or nothing."""
    cue: str = "answer:"
    """Written before the answer."""
    answerer: Literal["auto", "outcome", "player"] = "auto"
    """Is the answering message the outcome channel or its writer's own move? `auto`: as the topology says."""

    def rules(self, terms: Terms) -> Rules:
        """With masking, cue and the context window."""
        return replace(
            super().rules(terms),
            answerer=terms.resolved(self.answerer),
            masking=self.masking,
            cue=self.cue,
            window=terms.config.model.max_model_len,
        )

    def games(self, log: Log, rules: Rules, kind: str, config: Config) -> list[Game]:
        """One of each kind, about the first reference answer."""
        target = (log.task.references or ("",))[0]
        if not target:
            raise ValueError("no reference answer to score")
        game = build_game(log.trajectory, log.messages, target, rules, roles_of(config), kind)
        if game is None:
            raise ValueError("no message that could be masked: nobody but the answering message spoke")
        return [game]


def value_row(game: Game, mask: int, value: float, **more: Any) -> Row:
    """The row of `coalitions` of the players of the bitmask `mask`. Raises WorkError for a value outside [0, 1]."""
    if not 0 <= value <= 1:
        label, place = game.rules.value, game.trajectory_id
        raise WorkError(f"trajectory {place}: a value of {value} by {label} is not within [0, 1]; scale it")
    kept = kept_string(mask, len(game.players))
    return {"game_id": game.game_id, "trajectory_id": game.trajectory_id, "kept": kept, "value": value, **more}


def by_game(asked: Sequence[Asked], rows: Sequence[Row]) -> Iterator[list[Row] | str]:
    """Rows of all coalitions of some games, in order, game by game."""
    ordered = iter(rows)
    for one in asked:
        yield [next(ordered) for _ in one.masks]


def roles_of(config: Config) -> dict[str, str]:
    """The team's roles by agent."""
    return {agent.name: agent.role for agent in config.team.agents}


def verdict_of(config: Config) -> str:
    """The target of games that are worth what the verifier says."""
    return f"verdict of {config.tasks.verifier}"


def value_function(section: AnnotateConfig, name: str) -> ValueFunction:
    """The value function called `name` with its parameters. Raises UserError for what is none."""
    methods = family("values")
    if section.options and not any(map(methods.is_own, (name, section.value))):
        raise UserError(
            f"config: annotate.options are for a value function of your own, and {name!r} is none: they would have no "
            f"effect; set its parameters in [annotate.{name}]"
        )
    found = methods.find(name)
    if not (isinstance(found, type) and issubclass(found, ValueFunction)):
        raise UserError(f"annotate.value = {name!r}: is no class on apportion.pipeline.values.base.ValueFunction")
    if found.__abstractmethods__:
        raise UserError(f"annotate.value = {name!r}: it does not say its {sorted(found.__abstractmethods__)[0]!r}")
    shared = {key: getattr(section, key) for key in SHARED if key in found.model_fields}
    made: ValueFunction = methods.make(name, {**shared, **section.parameters(name)})
    if methods.is_own(name) and made.name in methods.names():
        raise UserError(f"annotate.value = {name!r}: it is called {made.name!r}, as one that exists; rename it")
    return made
