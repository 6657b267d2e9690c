"""The games of one shard of trajectories: planned, asked for in chunks, valued; and what is set aside on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit.base import Estimator
from apportion.pipeline.credit.choose import chosen, possible
from apportion.pipeline.credit.permutation import MAX_PLAYERS
from apportion.pipeline.games.game import Game, Rules
from apportion.pipeline.games.prompts import chunks
from apportion.pipeline.games.rejects import Aside, Code
from apportion.pipeline.games.tables import Planned
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.values._desk import Desk
from apportion.pipeline.values.base import Asked, Row, ValueFunction


@dataclass(frozen=True)
class Games:
    """The games of one shard, the logs that they are played over, and the trajectories without any, with the reason."""

    planned: tuple[Planned, ...]
    logs: Mapping[str, Log]
    aside: tuple[Aside, ...]


@dataclass(frozen=True)
class Valued:
    """The games that could be played, the rows of `coalitions`, and what was set aside."""

    played: tuple[Planned, ...]
    coalitions: tuple[Row, ...]
    aside: tuple[Aside, ...]


def plan_games(value: ValueFunction, rules: Rules, logs: Sequence[Log], config: Config) -> Games:
    """The games of some trajectories, each with its estimator."""
    planned: list[Planned] = []
    aside: list[Aside] = []
    for log in logs:
        try:
            games, reasons = _of_one(value, rules, log, config)
        except (UserError, ValueError) as error:
            aside.append(Aside(log.trajectory_id, str(error)))
        else:
            planned += games
            aside += [Aside(log.trajectory_id, reason, Code.MESSAGES_UNPLAYABLE) for reason in reasons]
    return Games(tuple(planned), {log.trajectory_id: log for log in logs}, tuple(aside))


def ask_all(
    value: ValueFunction, planned: Sequence[Planned], desk: Desk
) -> Iterator[tuple[list[Planned], list[Asked], list[Aside]]]:
    """Chunk by chunk: the games with what is asked for them, and those that cannot be asked for."""
    by_game = {one.game.game_id: one for one in planned}
    for chunk in chunks([(one.game, len(one.masks)) for one in planned]):
        fits: list[Planned] = []
        asked: list[Asked] = []
        aside: list[Aside] = []
        for game in chunk:
            try:
                affordable = value.affordable(by_game[game.game_id], desk)
                asked.append(value.ask(game, affordable.masks, desk))
                fits.append(affordable)
            except (UserError, ValueError) as error:
                aside.append(Aside(game.trajectory_id, str(error)))
        yield fits, asked, aside


def value_games(value: ValueFunction, games: Games, desk: Desk) -> Valued:
    """Value the coalitions of all games, a chunk at a time."""
    played: list[Planned] = []
    coalitions: list[Row] = []
    aside = list(games.aside)
    for fits, asked, refused in ask_all(value, games.planned, desk):
        aside += refused
        for planned, rows in zip(fits, value.values(asked, desk) if asked else (), strict=True):
            if isinstance(rows, str):
                aside.append(Aside(planned.game.trajectory_id, rows))
            else:
                played.append(planned)
                coalitions += rows
    return Valued(tuple(played), tuple(coalitions), tuple(aside))


def _of_one(value: ValueFunction, rules: Rules, log: Log, config: Config) -> tuple[list[Planned], list[str]]:
    """The games of one trajectory, and why it has none of messages beside that of its agents.

    Raises UserError or ValueError where it has none at all, with the reason.
    """
    planned: list[Planned] = []
    reasons: list[str] = []
    for kind in _kinds(value, config):
        games = value.games(log, rules, kind, config)
        try:
            planned += [Planned(game, _estimator(value, game, config)) for game in games]
        except UserError as error:
            if kind == "agent":
                raise
            reasons.append(str(error))
    return planned, reasons


def _kinds(value: ValueFunction, config: Config) -> tuple[str, ...]:
    """The kinds of players that are played; messages only where they are asked for."""
    return value.kinds if config.annotate.players == "messages" else value.kinds[:1]


def _estimator(value: ValueFunction, game: Game, config: Config) -> Estimator:
    if len(game.players) > MAX_PLAYERS:
        raise UserError(f"a game of {len(game.players)} {game.kind}s cannot be played (at most {MAX_PLAYERS})")
    name, budget = value.estimator(config.annotate.estimator), config.annotate.budget
    return chosen(name, len(game.players), budget, game.unions, config.run.seed)


def estimators_of(value: ValueFunction, config: Config) -> tuple[str, ...]:
    """Names of the estimators whose credits the games can have."""
    name = value.estimator(config.annotate.estimator)
    return tuple(dict.fromkeys(known for kind in _kinds(value, config) for known in possible(name, kind == "message")))
