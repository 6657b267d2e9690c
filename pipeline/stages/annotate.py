"""Stage: trajectories -> games, coalitions, credits and message credits, shard by shard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

import schemas
from pipeline.config import Config
from pipeline.counterfactual.game import Game, build_game
from pipeline.counterfactual.likelihood import Asked, ask, chunks, evaluate, tokens
from pipeline.credit.base import estimator as estimator_named
from pipeline.credit.base import solve
from pipeline.credit.interactions import solve_pairs
from pipeline.credit.messages import leak, message_credits, redundancy
from pipeline.errors import UserError
from pipeline.ids import digest
from pipeline.models import check_window, fingerprint, resolve_dtype, resolve_model
from pipeline.stages.common import ALGORITHM_VERSION, engine_for, frame, rows, watcher
from pipeline.stages.sample import writer
from pipeline.store import Store
from pipeline.teams.load import load_topology

TABLES = ("games", "coalitions", "interactions", "message_credits", "rejects")
MOST_PLAYERS = 10
"""Exact Shapley needs 2^n coalitions."""
SPOKEN = ("sampled-", "imported-")
"""Shards of a team's own rollouts; others hold counterfactual ones."""
_PLACE = "trajectory "
_MESSAGE_COLUMNS = [
    "trajectory_id", "message_index", "agent", "role", "kind", "context", "text", "examples", "is_outcome",
    "agent_call_id",
]  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """One shard of trajectories of the run, to be annotated by one specification."""

    source: str
    spec: str
    name: str
    fingerprint: str


@dataclass(frozen=True)
class AnnotatePlan:
    """What `annotate` would do."""

    config: Config
    run: str
    spec: str
    """Digest of what makes a game: names the shards of this kind of annotation."""
    scorer: str
    shards: tuple[Shard, ...]

    @property
    def pending(self) -> tuple[Shard, ...]:
        """The shards that do not stand yet, or whose annotation leaves out a trajectory that is asked for."""
        return tuple(s for s in self.shards if (done := _done(self, s)) is None or _asked_for(self, s) - done)


@dataclass(frozen=True)
class Games:
    """The games of one shard, and the trajectories that have none, with the reason."""

    games: tuple[Game, ...]
    rejects: tuple[dict[str, Any], ...]


def plan(config: Config, run: str) -> AnnotatePlan:
    """Find the run's shards; refuse a run that is not there."""
    store = Store(config.store_root)
    names = [path.stem.removeprefix("part-") for path in store.shards("trajectories", run)]
    if not names:
        known = ", ".join(info.run_id for info in store.runs()) or "none yet"
        raise UserError(f"run {run!r} has no trajectories; runs here: {known}")
    path = resolve_model(config.model.path, data_root=config.data_root, hub=config.model.hub)
    check_window(path, config.model.max_model_len)
    scorer = digest([*fingerprint(path), resolve_dtype(config.model.dtype)])
    section = config.annotate.model_dump(mode="json")
    for key in ("on", "limit"):  # which trajectories are asked for is no part of a game
        del section[key]
    spec = digest([section, scorer, config.model.max_model_len], 8)
    shards = []
    for name in names:
        if not name.startswith(SPOKEN) or config.annotate.on == "none":
            continue
        source = store.shard_fingerprint("trajectories", run, name)
        shards.append(Shard(name, spec, f"{name}-{spec}", digest([ALGORITHM_VERSION, spec, source])))
    return AnnotatePlan(config, run, spec, scorer, tuple(shards))


def games_of(plan: AnnotatePlan, shard: Shard) -> Games:
    """Build the games of the trajectories asked for, and of those annotated before: a narrower choice loses nothing."""
    config = plan.config.annotate
    store = Store(plan.config.store_root)
    trajectories = store.read("trajectories", plan.run, shard.source)
    wanted = pa.array(sorted(_asked_for(plan, shard) | (_done(plan, shard) or set())), pa.large_string())
    trajectories = trajectories.filter(pc.field("trajectory_id").isin(wanted))
    messages = store.read("messages", plan.run, shard.source, columns=_MESSAGE_COLUMNS)
    messages = messages.filter(pc.field("trajectory_id").isin(wanted))
    by_trajectory: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows(messages.sort_by([("trajectory_id", "ascending"), ("message_index", "ascending")])):
        by_trajectory[row["trajectory_id"]].append(row)
    tasks = store.read("tasks", plan.run, columns=["task_id", "references"])
    references = dict(zip(tasks["task_id"].to_pylist(), tasks["references"].to_pylist(), strict=True))
    roles = {agent.name: agent.role for agent in plan.config.team.agents}
    window = plan.config.model.max_model_len
    games: list[Game] = []
    rejects: list[dict[str, Any]] = []
    for row in rows(trajectories):
        target = (references.get(row["task_id"]) or [""])[0]
        answerer = _answerer(plan.config, row["origin"])
        game = build_game(
            row, by_trajectory[row["trajectory_id"]], target, config, answerer, plan.scorer, window, roles
        )
        reason = _unplayable(game, target)
        if reason:
            rejects.append(_reject(shard, row["trajectory_id"], reason))
        elif game is not None:
            games.append(game)
    return Games(tuple(games), tuple(rejects))


def ask_all(
    plan: AnnotatePlan, shard: Shard, games: Sequence[Game], tokenizer: Any
) -> Iterator[tuple[list[Asked], list[dict[str, Any]]]]:
    """The scoring requests, chunk by chunk, and the games that cannot be asked for."""
    for chunk in chunks(games):
        asked, rejects = [], []
        for game in chunk:
            try:
                asked.append(ask(game, tokenizer, plan.config.annotate.cue, plan.config.model.max_model_len))
            except ValueError as error:
                rejects.append(_reject(shard, game.trajectory_id, str(error)))
        yield asked, rejects


def cost(plan: AnnotatePlan, tokenizer: Any) -> dict[str, int]:
    """What the pending shards would cost: games, coalitions, prompt tokens, and tokens with prefixes shared."""
    total = {"games": 0, "coalitions": 0, "prompt_tokens": 0, "distinct_tokens": 0}
    for shard in plan.pending:
        for asked, _ in ask_all(plan, shard, games_of(plan, shard).games, tokenizer):
            every, distinct = tokens(asked)
            total["games"] += len(asked)
            total["coalitions"] += sum(len(one.requests) for one in asked)
            total["prompt_tokens"] += every
            total["distinct_tokens"] += distinct
    return total


def run_shard(plan: AnnotatePlan, shard: Shard) -> int:
    """Annotate one shard and commit its tables, credits last. Returns the number of games."""
    config = plan.config
    found = games_of(plan, shard)
    done = watcher().start(f"coalitions {shard.source}", sum(2 ** len(game.players) for game in found.games))
    played: list[Asked] = []
    coalitions: list[dict[str, Any]] = []
    rejects = list(found.rejects)
    if found.games:
        engine = engine_for(config.model, config.data_root)
        engine.reset_prefix_cache()
        for asked, refused in ask_all(plan, shard, found.games, engine.tokenizer):
            coalitions += evaluate(asked, engine, done)
            played += asked
            rejects += refused
    games = [one.game for one in played]
    write = writer(Store(config.store_root), plan.run, shard.name, shard.fingerprint)
    write("games", [game.row(_leak(game)) for game in games])
    write("coalitions", coalitions)
    write("rejects", rejects)
    table = schemas.TABLES["coalitions"].from_rows(coalitions)
    credits = credit_table(games, table, config.annotate.estimator)
    store = Store(config.store_root)
    store.write_shard("interactions", plan.run, shard.name, interaction_table(games, table), shard.fingerprint)
    authored = store.read("messages", plan.run, shard.source, columns=_MESSAGE_COLUMNS)
    shares = message_table(games, credits, authored)
    store.write_shard("message_credits", plan.run, shard.name, shares, shard.fingerprint)
    if "estimator" in credits.column_names:  # the partition's directory holds it
        credits = credits.drop_columns("estimator")
    store.write_shard("credits", plan.run, shard.name, credits, shard.fingerprint, estimator=config.annotate.estimator)
    return len(games)


def credit_table(games: Sequence[Game], coalitions: pa.Table, estimator: str) -> pa.Table:
    """The rows of `credits`: one per player and game."""
    declared = schemas.TABLES["credits"]
    if not games:
        return declared.from_rows([])
    players = pl.DataFrame(
        [
            {
                "game_id": game.game_id, "player_index": index, "trajectory_id": game.trajectory_id,
                "task_id": game.task_id, "player": player, "player_kind": "agent", "role": game.roles.get(player),
            }
            for game in games
            for index, player in enumerate(game.players)
        ]
    )  # fmt: skip
    solved = solve(frame(coalitions.select(["game_id", "kept", "value", "stderr"])), estimator_named(estimator))
    joined = players.join(
        solved, on=["game_id", pl.col("player_index").cast(solved.schema["player_index"])], how="left"
    )
    return joined.select(name for name in (*declared.schema.names, "estimator") if name in joined.columns).to_arrow()


def interaction_table(games: Sequence[Game], coalitions: pa.Table) -> pa.Table:
    """The rows of `interactions`: one per pair of players of an exactly solved game, at no further evaluation."""
    declared = schemas.TABLES["interactions"]
    if not games:
        return declared.from_rows([])
    players = pl.DataFrame(
        [
            {"game_id": game.game_id, "trajectory_id": game.trajectory_id, "players": list(game.players)}
            for game in games
        ]
    )
    solved = solve_pairs(frame(coalitions.select(["game_id", "kept", "value", "stderr"]))).join(players, on="game_id")
    named = solved.with_columns(
        player_a=pl.col("players").list.get(pl.col("a_index")), player_b=pl.col("players").list.get(pl.col("b_index"))
    )
    return named.select(declared.schema.names).to_arrow()


def message_table(games: Sequence[Game], credits: pa.Table, messages: pa.Table) -> pa.Table:
    """The rows of `message_credits`: an agent's credit over the messages that it wrote.

    The answering message of an `answerer = outcome` game belongs to no player, and an agent that the answering agent
    never heard is none: their credits are null.
    """
    declared = schemas.TABLES["message_credits"]
    if not games:
        return declared.from_rows([])
    index = pl.DataFrame(
        [{"trajectory_id": g.trajectory_id, "game_id": g.game_id, "answerer": g.answerer} for g in games]
    )
    names = ["trajectory_id", "message_index", "agent", "text", "is_outcome"]
    turns = frame(messages.filter(pc.field("role") == "assistant").select(names))
    turns = turns.join(index, on="trajectory_id").sort("trajectory_id", "message_index")
    turns = turns.with_columns(redundancy=_redundancy(turns))
    name = credits["estimator"][0].as_py()
    channel = pl.col("is_outcome") & (pl.col("answerer") == "outcome")
    shared = message_credits(
        turns.filter(~channel), frame(credits.select(["game_id", "player", "estimator", "credit"]))
    )
    answers = turns.filter(channel).select(
        "game_id",
        "trajectory_id",
        "message_index",
        "agent",
        "redundancy",
        estimator=pl.lit(name),
    )
    return pl.concat([shared.with_columns(pl.col("estimator").fill_null(name)), answers], how="diagonal").to_arrow()


def _redundancy(turns: pl.DataFrame) -> pl.Series:
    """Of each turn, its largest similarity to an earlier turn of its trajectory (sorted rows)."""
    parts = [
        pl.Series(redundancy(texts, [range(k) for k in range(len(texts))]))
        for texts in turns.group_by("trajectory_id", maintain_order=True).agg("text")["text"].to_list()
    ]
    return pl.concat(parts) if parts else pl.Series([], dtype=pl.Float64)


def _asked_for(plan: AnnotatePlan, shard: Shard) -> set[str]:
    """Ids of the shard's trajectories that the configuration asks for."""
    config = plan.config.annotate
    columns = ["trajectory_id", "success"]
    found = Store(plan.config.store_root).read("trajectories", plan.run, shard.source, columns=columns)
    if config.on == "successes":
        found = found.filter(pc.field("success"))
    return set(found["trajectory_id"].slice(0, config.limit).to_pylist())


def _done(plan: AnnotatePlan, shard: Shard) -> set[str] | None:
    """Ids of the trajectories annotated or set aside by this specification; None where the shard does not stand."""
    store = Store(plan.config.store_root)
    tables = (*TABLES, f"credits/estimator={plan.config.annotate.estimator}")
    if not store.shard_stands(plan.run, shard.name, shard.fingerprint, tables):
        return None
    played = store.read("games", plan.run, shard.name, columns=["trajectory_id"])["trajectory_id"].to_pylist()
    aside = store.read("rejects", plan.run, shard.name, columns=["file"])["file"].to_pylist()
    return {*played, *(place.removeprefix(_PLACE) for place in aside)}


def _answerer(config: Config, origin: str) -> str:
    """As asked, else as the run's own topology says; an imported log has none, and its answer is a move."""
    if config.annotate.answerer != "auto":
        return config.annotate.answerer
    return "player" if origin == "imported" else load_topology(config.team.topology).answerer


def _unplayable(game: Game | None, target: str) -> str | None:
    if not target:
        return "no reference answer to score"
    if game is None:
        return "no message that could be masked: nobody but the answering message spoke"
    if len(game.players) > MOST_PLAYERS:
        return f"{len(game.players)} players; exact Shapley takes at most {MOST_PLAYERS}"
    return None


def _reject(shard: Shard, trajectory: str, reason: str) -> dict[str, Any]:
    return {
        "stage": f"annotate {shard.spec}",
        "file": f"{_PLACE}{trajectory}",
        "line": 0,
        "reason": reason,
        "raw": None,
    }


def _leak(game: Game) -> float:
    """The largest share of a player's words that a later message of another player repeats."""
    most = 0.0
    for player in game.players:
        for position, message in enumerate(game.view):
            if message.owner == player:
                later = [m.text for m in game.view[position + 1 :] if m.owner and m.owner != player]
                most = max(most, leak(message.text, later))
    return most
