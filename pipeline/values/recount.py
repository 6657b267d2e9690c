"""The `recount` value function: what would the vote of a coalition have been worth?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.games.game import Game, Rules, game_id
from apportion.pipeline.teams.solo import ANSWER
from apportion.pipeline.teams.voting import vote
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.values._desk import Desk
from apportion.pipeline.values.base import Asked, Need, Row, Terms, ValueFunction, roles_of, value_row, verdict_of
from apportion.pipeline.verifiers.base import Judge


class Recount(ValueFunction):
    """The reward of the vote among the coalition's voters.

    v(S) = mean reward of the answers that tie for most votes among the voters in S, with one answer the reward of
    that answer: the expected reward where ties are broken by a uniform choice. v = 0 where nobody is there, or
    nobody's vote can be read.

    Status: reported (CCPO, arXiv 2603.21563, counts votes again without one voter); the tie rule is ours. Votes (c,
    c, w), c right and w wrong, have leave-one-out differences (.5, .5, 0); (c, w, w) have (0, -.5, -.5).
    Degenerate: an abstainer changes no coalition and earns 0. A recorded vote breaks its ties by the team file's
    order, so v(N) differs from the recorded outcome where the vote was tied; differences are taken within the game
    only.
    Cost: none. Exact, without a model.
    """

    name: ClassVar[str] = "recount"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.VERIFIER})

    def rules(self, terms: Terms) -> Rules:
        """Of a vote, in which everybody's answer is a move. Raises UserError where the team takes none."""
        if terms.value != self.name:
            team = f"a {terms.topology} team takes" if terms.topology else "imported logs hold"
            raise UserError(f"annotate.value = {self.name!r}: {team} no vote; leave it at auto")
        return Rules(self.label, scorer="", answerer="player")

    def games(self, log: Log, rules: Rules, kind: str, config: Config) -> list[Game]:
        """One, of everybody who spoke."""
        return [game(log, rules, verdict_of(config), roles_of(config))]

    def values(self, asked: Sequence[Asked], desk: Desk) -> Iterator[list[Row] | str]:
        """See `evaluate`."""
        for one in asked:
            yield evaluate(one.game, one.masks, desk.logs[one.game.trajectory_id], desk.verifier)


def game(log: Log, rules: Rules, target: str, roles: Mapping[str, str] | None = None) -> Game:
    """The game of the agents that spoke. Raises ValueError where nobody did."""
    players = tuple(dict.fromkeys(str(log.messages[turn]["agent"]) for turn in log.turns))
    if not players:
        raise ValueError("nobody spoke, so there is no vote to count again")
    return Game(
        game_id=game_id(log.trajectory, players, rules, target, "agent"),
        trajectory_id=log.trajectory_id,
        task_id=log.task.task_id,
        players=players,
        rules=rules,
        target=target,
        agents=players,
        roles=roles,
    )


def evaluate(game: Game, masks: NDArray[np.int64], log: Log, verifier: Judge) -> list[dict[str, Any]]:
    """The rows of `coalitions` of one game. Whatever the verifier raises comes through."""
    votes = votes_of(log.messages, game.players)
    rewards = rewards_of(log.messages, game.players, verifier, log.task.references)
    worth = values(votes, rewards, masks)
    return [value_row(game, int(mask), float(value)) for mask, value in zip(masks, worth, strict=True)]


def votes_of(messages: Sequence[Mapping[str, Any]], players: Sequence[str]) -> list[str | None]:
    """Each player's vote, as `teams.voting` reads it from its last message; None for who abstained.

    `messages`: rows of the table of that name, of one trajectory; `players`: names of agents.
    """
    last = _last(messages, players)
    return [vote(str(last[player]["text"] or "")) if player in last else None for player in players]


def rewards_of(
    messages: Sequence[Mapping[str, Any]], players: Sequence[str], verifier: Judge, references: Sequence[str]
) -> dict[str, float]:
    """Vote -> its reward in [0, 1]. Judged is the wording of the first message that gave it, as in the team's answer.

    Whatever the verifier raises comes through.
    """
    rewards: dict[str, float] = {}
    last = _last(messages, players)
    for row in sorted(last.values(), key=lambda row: int(row["message_index"])):
        text = str(row["text"] or "")
        answer, cast = ANSWER.search(text), vote(text)
        if answer and cast is not None and cast not in rewards:
            rewards[cast] = verifier.verify(answer.group(1), references).outcome
    return rewards


def values(votes: Sequence[str | None], rewards: Mapping[str, float], masks: NDArray[np.int64]) -> NDArray[np.float64]:
    """v of the coalitions `masks`, shape (M,), in [0, 1]: bit i of a mask keeps the voter of votes[i].

    Raises ValueError for a vote without reward, and for a mask that names a voter who is not there.
    """
    answers = list(dict.fromkeys(one for one in votes if one is not None))
    unpaid = [answer for answer in answers if answer not in rewards]
    if unpaid:
        raise ValueError(f"recount: the vote {unpaid[0]!r} has no reward")
    if len(masks) and not 0 <= int(masks.min()) <= int(masks.max()) < 1 << len(votes):
        raise ValueError(f"recount: masks from {masks.min()} to {masks.max()} for {len(votes)} voters")
    if not answers:
        return np.zeros(len(masks))
    kept_Mn = (masks[:, None] >> np.arange(len(votes))) & 1
    ballots_nA = np.array([[one == answer for answer in answers] for one in votes], dtype=np.int64)
    count_MA = kept_Mn @ ballots_nA
    most_M1 = count_MA.max(axis=1, keepdims=True)
    tied_MA = (count_MA == most_M1) & (most_M1 > 0)
    reward_A = np.array([rewards[answer] for answer in answers])
    result: NDArray[np.float64] = tied_MA @ reward_A / np.maximum(tied_MA.sum(axis=1), 1)
    return result


def _last(messages: Sequence[Mapping[str, Any]], players: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The last message that each of the players wrote."""
    last: dict[str, Mapping[str, Any]] = {}
    for row in sorted(messages, key=lambda row: int(row["message_index"])):
        if row["role"] == "assistant" and row["agent"] in players:
            last[str(row["agent"])] = row
    return last
