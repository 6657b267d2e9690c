"""The `replay` value function: the rest of the run, sampled again with and without one agent.

For agent i, from its first message on: v({i}) = success share of k continuations, v({}) = of k continuations in which
every turn of i yields the placeholder. Both arms share the exact prefix, decoding and number of samples.

Status: source (SHARP and CCPO remove one agent and roll out again); the ground truth that masking is audited against.
Each agent has a game of its own with its own branch, so the differences of a trajectory are no one game's:
leave-one-out, no conservation. A rollout that a tool's fault broke off counts in neither arm.
Degenerate: an arm without any verdict has no value, and the game is set aside. Where the answering message is the
channel of the outcome, its agent has no game: without it there is no answer, and nothing to compare masking with.
Cost: 2 k continuations an agent, by far the dearest value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from apportion.pipeline.games.game import Game, Rules, game_id
from apportion.pipeline.play.branch import branch
from apportion.pipeline.play.play import Rollout
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.values.sampled import share_row

NAME = "replay"
ARMS = (("0", True), ("1", False))
"""kept, and whether the agent is removed."""


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
