"""From valued games to rows of credits, interactions and message credits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from apportion import schemas
from apportion.pipeline.credit.base import Estimator
from apportion.pipeline.credit.interactions import solve_pairs
from apportion.pipeline.credit.messages import leak, message_credits, redundancy
from apportion.pipeline.credit.solve import solve
from apportion.pipeline.games.game import Game

EXACT = "exact"


@dataclass(frozen=True, eq=False)
class Planned:
    """A game and how it is solved."""

    game: Game
    estimator: Estimator

    @property
    def masks(self) -> NDArray[np.int64]:
        """The coalitions that must be valued."""
        return self.estimator.coalitions(len(self.game.players))


def credit_table(played: Sequence[Planned], coalitions: pl.DataFrame) -> pa.Table:
    """The rows of `credits`, one per player and game, and the column `estimator`. Equal games are solved together."""
    declared = schemas.TABLES["credits"]
    names = [*declared.schema.names, "estimator"]
    if not played:
        empty = declared.from_rows([])
        return empty.append_column("estimator", pa.array([], pa.large_string()))
    players = pl.DataFrame(
        [
            {
                "game_id": one.game.game_id, "player_index": index, "trajectory_id": one.game.trajectory_id,
                "task_id": one.game.task_id, "player": player, "player_kind": one.game.kind,
                "role": (one.game.roles or {}).get(agent),
            }
            for one in played
            for index, (player, agent) in enumerate(zip(one.game.players, one.game.agents, strict=True))
        ],
        schema_overrides={"player_index": pl.Int32, "role": pl.String},
    )  # fmt: skip
    alike: dict[Estimator, list[str]] = defaultdict(list)
    for one in played:
        alike[one.estimator].append(one.game.game_id)
    values = coalitions.select("game_id", "kept", "value", "stderr")
    solved = pl.concat(
        solve(values.filter(pl.col("game_id").is_in(games)), estimator) for estimator, games in alike.items()
    )
    return players.join(solved, on=["game_id", "player_index"], how="left").select(names).to_arrow()


def interaction_table(played: Sequence[Planned], coalitions: pl.DataFrame) -> pa.Table:
    """The rows of `interactions`: one per pair of players of an exactly solved game, at no further evaluation."""
    declared = schemas.TABLES["interactions"]
    exact = [one.game for one in played if one.estimator.name == EXACT]
    if not exact:
        return declared.from_rows([])
    players = pl.DataFrame(
        [{"game_id": g.game_id, "trajectory_id": g.trajectory_id, "players": list(g.players)} for g in exact]
    )
    values = coalitions.select("game_id", "kept", "value", "stderr").join(players, on="game_id", how="semi")
    named = (
        solve_pairs(values)
        .join(players, on="game_id")
        .with_columns(
            player_a=pl.col("players").list.get(pl.col("a_index")),
            player_b=pl.col("players").list.get(pl.col("b_index")),
        )
    )
    return named.select(declared.schema.names).to_arrow()


def message_table(played: Sequence[Planned], credits: pa.Table, turns: pl.DataFrame) -> pa.Table:
    """The rows of `message_credits`: one per turn of a trajectory.

    Where the trajectory's messages were played as a game, their own credits; elsewhere the agent's credit shared out
    over its messages. The answering message of an `answerer = outcome` game belongs to no player, and an agent that
    the answering agent never heard is none: their credits are null.
    `turns`: trajectory_id, message_index, agent, text, is_outcome of the messages that agents wrote.
    """
    games = {one.game.trajectory_id: one for one in played if one.game.kind == "agent"}
    games |= {one.game.trajectory_id: one for one in played if one.game.kind == "message"}
    if not games:
        return schemas.TABLES["message_credits"].from_rows([])
    index = pl.DataFrame(
        [
            {
                "trajectory_id": name, "game_id": one.game.game_id, "player_kind": one.game.kind,
                "answerer": one.game.rules.answerer, "estimator": one.estimator.name,
            }
            for name, one in games.items()
        ]
    )  # fmt: skip
    turns = turns.join(index, on="trajectory_id").sort("trajectory_id", "message_index")
    turns = turns.with_columns(redundancy=_redundancy(turns))
    solved = pl.from_arrow(credits.select(["game_id", "player", "estimator", "credit"]))
    assert isinstance(solved, pl.DataFrame)
    channel = pl.col("is_outcome") & (pl.col("answerer") == "outcome")
    shares = pl.col("player_kind") == "agent"
    shared = message_credits(turns.filter(~channel & shares), solved).join(
        index.select("game_id", named="estimator"), on="game_id", maintain_order="left"
    )
    own = turns.filter(~channel & ~shares).join(
        solved.select(
            "game_id", "credit", message_index=pl.col("player").cast(turns.schema["message_index"], strict=False)
        ),
        on=["game_id", "message_index"],
        how="left",
    )
    parts = [shared.with_columns(pl.col("estimator").fill_null(pl.col("named"))), own, turns.filter(channel)]
    names = schemas.TABLES["message_credits"].schema.names
    return pl.concat([p.select(n for n in names if n in p.columns) for p in parts], how="diagonal").to_arrow()


def leak_of(game: Game) -> float | None:
    """The largest share of a player's words that a later message of another player repeats; null without a view."""
    if not game.view:
        return None
    most = 0.0
    for position, message in enumerate(game.view):
        if message.owner:
            later = [m.text for m in game.view[position + 1 :] if m.owner and m.owner != message.owner]
            most = max(most, leak(message.text, later))
    return most


def _redundancy(turns: pl.DataFrame) -> pl.Series:
    """Of each turn, its largest similarity to an earlier turn of its trajectory (sorted rows)."""
    parts = [
        pl.Series(redundancy(texts, [range(k) for k in range(len(texts))]))
        for texts in turns.group_by("trajectory_id", maintain_order=True).agg("text")["text"].to_list()
    ]
    return pl.concat(parts) if parts else pl.Series([], dtype=pl.Float64)
