"""The `replay` value function: the rest of the run, sampled again with and without one agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from apportion.pipeline.core.config import Config
from apportion.pipeline.games.game import Game, Rules, game_id
from apportion.pipeline.play.branch import branch
from apportion.pipeline.play.continuation import check_conditions
from apportion.pipeline.play.play import Rollout, message_rows
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.values._desk import Desk
from apportion.pipeline.values._sampled import drawn, share_row
from apportion.pipeline.values.base import Asked, Need, Row, Terms, ValueFunction, roles_of, verdict_of

ARMS = (("0", True), ("1", False))
"""kept, and whether the agent is removed."""


class Replay(ValueFunction):
    """The success share of the run played on with and without one agent.

    For agent i, from its first message on: v({i}) = success share of k continuations, v({}) = of k continuations in
    which every turn of i yields the placeholder. Both arms share the exact prefix, decoding and number of samples.

    Status: source (SHARP, arXiv 2602.08335, and CCPO, arXiv 2603.21563, remove one agent and roll out again); it is
    what masking is audited against. Each agent has a game of its own with its own branch, so the differences of a
    trajectory are no one game's: leave-one-out, no conservation. A rollout that a tool's fault broke off counts in
    neither arm.
    Degenerate: an arm without any verdict has no value, and the game is set aside. Where the answering message is
    the channel of the outcome, its agent has no game: without it there is no answer, and nothing to compare masking
    with.
    Cost: 2 k continuations an agent, by far the dearest value.
    """

    name: ClassVar[str] = "replay"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SAMPLER, Need.VERIFIER, Need.RUN})
    estimators: ClassVar[tuple[str, ...]] = ("loo",)
    writes: ClassVar[tuple[str, ...]] = ("messages", "trajectories")
    no_logs: ClassVar[str] = "cannot be replayed; set annotate.value=likelihood"

    answerer: Literal["auto", "outcome", "player"] = "auto"
    """Is the answering message the outcome channel or its writer's own move? `auto`: as the topology says."""
    samples: int = Field(4, ge=1, le=1_000_000)
    """Continuations of each arm."""

    def rules(self, terms: Terms) -> Rules:
        """With how continuations are sampled."""
        window, answerer = terms.config.model.max_model_len, terms.resolved(self.answerer)
        return replace(super().rules(terms), answerer=answerer, window=window, **drawn(terms.config, self.samples))

    def check(self, config: Config, run: str) -> None:
        """The rest of a run is played under its own conditions."""
        check_conditions(config, run, "a replay", "annotate.value=likelihood (audit.trajectories=0)")

    def games(self, log: Log, rules: Rules, kind: str, config: Config) -> list[Game]:
        """See `games`."""
        made = games(log, rules, verdict_of(config), roles_of(config))
        if not made:
            raise ValueError("nobody but the answering agent spoke, so there is nobody to replay without")
        return made

    def ask(self, game: Game, masks: NDArray[np.int64], desk: Desk) -> Asked:
        """The continuations of both arms."""
        return Asked(game, masks, tuple(rollouts(game, desk.logs[game.trajectory_id])))

    def values(self, asked: Sequence[Asked], desk: Desk) -> Iterator[list[Row] | str]:
        """All arms of all games are played together."""
        played = iter(desk.bench.judge("replays", [rollout for one in asked for rollout in one.requests]))
        for one in asked:
            verdicts = [next(played)[1] for _ in one.requests]
            try:
                yield list(values(one.game, verdicts))
            except ValueError as error:
                yield str(error)

    def further(self, desk: Desk) -> Mapping[str, list[Row]]:
        """The continuations, as trajectories of their own."""
        played, sample = desk.played, desk.config.sample
        return {
            "messages": [row for one, _ in played for row in message_rows(one, sample)],
            "trajectories": [{**row, "batch_index": None} for _, row in played],
        }


def games(log: Log, rules: Rules, target: str, roles: Mapping[str, str] | None = None) -> list[Game]:
    """One game for every agent that spoke; under `answerer = outcome` all but the one who answered."""
    first: dict[str, int] = {}
    channel = {str(row["agent"]) for row in log.messages if row["is_outcome"] and rules.answerer == "outcome"}
    for turn in log.turns:
        if (agent := str(log.messages[turn]["agent"])) not in channel:
            first.setdefault(agent, turn)
    return [
        Game(
            game_id=game_id(log.trajectory, (agent,), rules, target, "agent", turn),
            trajectory_id=log.trajectory_id,
            task_id=log.task.task_id,
            players=(agent,),
            rules=rules,
            target=target,
            agents=(agent,),
            roles=roles,
            branch=turn,
        )
        for agent, turn in first.items()
    ]


def rollouts(game: Game, log: Log) -> list[Rollout]:
    """The continuations of both arms, as many in each."""
    assert game.branch is not None
    (player,) = game.players
    return [
        branch(log, game.branch, f"replay {kept} of {game.rules.k}", number, game.rules.seed or 0,
               origin="replay", removed=(player,) if without else ())
        for kept, without in ARMS
        for number in range(game.rules.k or 1)
    ]  # fmt: skip


def values(game: Game, verdicts: Sequence[bool | None]) -> Iterator[dict[str, Any]]:
    """The two rows of `coalitions`, from verdicts in the order of `rollouts`. Raises ValueError for an empty arm."""
    k = len(verdicts) // 2
    for number, (kept, _) in enumerate(ARMS):
        known = [one for one in verdicts[number * k : (number + 1) * k] if one is not None]
        if not known:
            raise ValueError(f"trajectory {game.trajectory_id}: no replay of {game.players[0]} came to a verdict")
        yield share_row(game, kept, known)
