"""Stage: trajectories -> games, coalitions, credits and message credits, shard by shard."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.core.frames import frame
from apportion.pipeline.core.ids import digest
from apportion.pipeline.core.limits import limited
from apportion.pipeline.core.progress import watcher
from apportion.pipeline.credit.base import Estimator
from apportion.pipeline.credit.choose import chosen, possible, within_tokens
from apportion.pipeline.credit.permutation import MAX_PLAYERS
from apportion.pipeline.engines import running
from apportion.pipeline.engines.checkpoints import check_window, fingerprint, resolve_dtype, resolve_model
from apportion.pipeline.engines.policy import policy_of
from apportion.pipeline.games.game import Game, Rules, build_game
from apportion.pipeline.games.prompts import chunks, layout
from apportion.pipeline.games.tables import Planned, credit_table, interaction_table, leak_of, message_table
from apportion.pipeline.play.continuation import Bench, check_conditions, logs_of
from apportion.pipeline.play.play import message_rows
from apportion.pipeline.play.team import Nature, nature_for
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.common import ALGORITHM_VERSION, writer
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.values import likelihood, recount, regenerate, replay
from apportion.pipeline.verifiers import get_verifier
from apportion.pipeline.verifiers.base import Verdict, Verifier
from apportion.schemas import SchemaError

SPOKEN = ("sampled-", "imported-")
"""Shards of a team's own rollouts; others hold counterfactual ones."""
_PLACE = "trajectory "
_TURN_COLUMNS = ["trajectory_id", "message_index", "agent", "text", "is_outcome"]


@dataclass(frozen=True)
class Shard:
    """One shard of trajectories of the run, to be annotated by one specification."""

    source: str
    spec: str
    rules: Rules
    fingerprint: str

    @property
    def name(self) -> str:
        """Replays write trajectories of their own, which are nobody's to annotate again."""
        return f"{'replay-' if self.rules.value == replay.NAME else ''}{self.source}-{self.spec}"


@dataclass(frozen=True)
class AnnotatePlan:
    """What `annotate` would do."""

    config: Config
    run: str
    spec: str
    """Digest of what makes a game: names the shards of this kind of annotation. How games are solved is not in it."""
    scorer: str
    policy_id: str
    shards: tuple[Shard, ...]
    assumed: str = ""
    """What a dry run took for granted of a topology whose code it did not import."""

    @property
    def pending(self) -> tuple[Shard, ...]:
        """The shards that do not stand yet, or whose annotation leaves out a trajectory that is asked for."""
        return tuple(s for s in self.shards if (done := _done(self, s)) is None or _asked_for(self, s) - done)


@dataclass(frozen=True)
class Games:
    """The games of one shard, the logs that they are played over, and the trajectories without any, with the reason."""

    planned: tuple[Planned, ...]
    logs: Mapping[str, Log]
    rejects: tuple[dict[str, Any], ...]


def plan(config: Config, run: str, *, dry: bool = False) -> AnnotatePlan:
    """Find the run's shards; refuse a run that is not there, or a replay under other conditions than the run's own.

    `dry` imports no code of the team's own: what it would tell comes from the run's manifest.
    """
    store, section = Store(config.store_root), config.annotate
    names = [path.stem.removeprefix("part-") for path in store.shards("trajectories", run)]
    if not names:
        known = ", ".join(info.run_id for info in store.runs()) or "none yet"
        raise UserError(f"run {run!r} has no trajectories; runs here: {known}")
    path = resolve_model(config.model.path, data_root=config.data_root, hub=config.model.hub)
    check_window(path, config.model.max_model_len)
    scorer = digest([*fingerprint(path), resolve_dtype(config.model.dtype)])
    policy_id, _ = policy_of(config)
    names = [name for name in names if name.startswith(SPOKEN) and section.on != "none"]
    imported = {name: name.startswith("imported-") for name in names}
    nature, assumed = (
        nature_for(config.team, store.manifest(run), dry=dry) if False in imported.values() else (None, "")
    )
    rules = {alien: _rules(config, scorer, None if alien else nature) for alien in set(imported.values())}
    if any(one.value == replay.NAME for one in rules.values()):
        names = [name for name in names if not imported[name]]
        if not names:
            raise UserError(f"run {run!r} holds imported logs, which cannot be replayed; set annotate.value=likelihood")
        check_conditions(config, run, policy_id, "a replay", "annotate.value=likelihood (audit.trajectories=0)")
    judged = [config.tasks.verifier, *filter(None, [config.tasks.verifier_options])]
    specs = {alien: digest([rules[alien].__dict__, *judged], 8) for alien in rules}
    solved = section.model_dump(mode="json", include={"players", "estimator", "budget", "token_budget"})
    shards = []
    for name in names:
        spec = specs[imported[name]]
        source = store.shard_fingerprint("trajectories", run, name)
        conditions = config.sampling() if rules[imported[name]].value == replay.NAME else None
        print_of = digest([ALGORITHM_VERSION, spec, solved, source, conditions])
        shards.append(Shard(name, spec, rules[imported[name]], print_of))
    return AnnotatePlan(config, run, specs.get(any(imported.values()), ""), scorer, policy_id, tuple(shards), assumed)


def games_of(plan: AnnotatePlan, shard: Shard) -> Games:
    """Plan the games of the trajectories asked for, and of those annotated before: a narrower choice loses nothing,
    and another estimator solves all of them anew.
    """
    wanted = _asked_for(plan, shard) | _known(plan, shard)
    logs = [
        log for log in logs_of(Store(plan.config.store_root), plan.run, shard.source) if log.trajectory_id in wanted
    ]
    planned: list[Planned] = []
    rejects: list[dict[str, Any]] = []
    for log in logs:
        try:
            made, unplayable = _planned(plan.config, shard.rules, log)
        except (UserError, ValueError) as error:
            rejects.append(_reject(shard, log.trajectory_id, str(error)))
        else:
            planned += made
            # Named apart: the trajectory itself has its game of agents.
            rejects += [_reject(shard, log.trajectory_id, why, "messages of ") for why in unplayable]
    return Games(tuple(planned), {log.trajectory_id: log for log in logs}, tuple(rejects))


def run_shard(plan: AnnotatePlan, shard: Shard) -> int:
    """Annotate one shard and commit its tables, message credits last. Returns the number of games."""
    config, store = plan.config, Store(plan.config.store_root)
    found = games_of(plan, shard)
    rejects = list(found.rejects)
    write = writer(store, plan.run, shard.name, shard.fingerprint)
    played, coalitions = _valued(plan, shard, found, rejects, write)
    write("games", [one.game.row(leak_of(one.game)) for one in played])
    write("coalitions", coalitions)
    write("rejects", rejects)
    values = frame(_table("coalitions", coalitions))
    credits = credit_table(played, values)
    turns = store.read("messages", plan.run, shard.source, columns=[*_TURN_COLUMNS, "role"])
    said = frame(turns.filter(pc.field("role") == "assistant").select(_TURN_COLUMNS))
    tables = {
        "interactions": interaction_table(played, values),
        "message_credits": message_table([] if shard.rules.value == replay.NAME else played, credits, said),
    }
    for name in _estimators(config, shard):
        part = credits.filter(pc.field("estimator") == name).drop_columns("estimator")
        store.write_shard("credits", plan.run, shard.name, part, shard.fingerprint, estimator=name)
    store.keep_partitions("credits", plan.run, shard.name, {"estimator": _estimators(config, shard)})
    for table, data in tables.items():
        store.write_shard(table, plan.run, shard.name, data, shard.fingerprint)
    return len(played)


def _valued(
    plan: AnnotatePlan, shard: Shard, found: Games, rejects: list[dict[str, Any]], write: Any
) -> tuple[list[Planned], list[dict[str, Any]]]:
    """The games that could be played, and the rows of `coalitions`; `rejects` takes the others."""
    total = sum(len(one.masks) for one in found.planned)
    if shard.rules.value == replay.NAME:
        return _replayed(plan, shard, found, rejects, write)
    done = watcher().start(f"coalitions {shard.source}", total)
    if shard.rules.value == recount.NAME:
        return list(found.planned), [row for one in found.planned for row in _recounted(plan.config, one, found.logs)]
    if not found.planned:
        return [], []
    engine = running.engine_for(plan.config.model, plan.config.data_root)
    engine.reset_prefix_cache()
    judge = _judge(plan.config, found.logs)
    played: list[Planned] = []
    coalitions: list[dict[str, Any]] = []
    for planned, asked, refused in ask_all(plan, shard, found.planned, engine.tokenizer):
        if shard.rules.value == likelihood.NAME:
            coalitions += likelihood.evaluate(asked, engine, done)
        else:
            coalitions += regenerate.evaluate(asked, engine, plan.config.sample, judge, done)
        played += planned
        rejects += refused
    return played, coalitions


def ask_all(
    plan: AnnotatePlan, shard: Shard, planned: Sequence[Planned], tokenizer: Any
) -> Iterator[tuple[list[Planned], list[Any], list[dict[str, Any]]]]:
    """Chunk by chunk: the games with their requests, and rejects for those that cannot be asked for."""
    by_game = {one.game.game_id: one for one in planned}
    for chunk in chunks([(one.game, len(one.masks)) for one in planned]):
        fits: list[Planned] = []
        asked: list[Any] = []
        rejects = []
        for game in chunk:
            try:
                one, requests = _ask(plan.config, by_game[game.game_id], tokenizer)
            except (ValueError, UserError) as error:
                rejects.append(_reject(shard, game.trajectory_id, str(error)))
            else:
                fits.append(one)
                asked.append(requests)
        yield fits, asked, rejects


def _ask(config: Config, one: Planned, tokenizer: Any) -> tuple[Planned, Any]:
    """A game's requests, its coalitions fewer where a token budget asks for it."""
    if one.game.rules.value == regenerate.NAME:
        return one, regenerate.ask(one.game, one.masks, tokenizer, config.sample)
    section, game = config.annotate, one.game
    if section.token_budget:
        estimator = within_tokens(
            section.token_budget, layout(game, tokenizer), section.estimator, len(game.players), section.budget,
            _unions(game), config.run.seed,
        )  # fmt: skip
        one = Planned(game, estimator)
    return one, likelihood.ask(game, one.masks, tokenizer)


def _planned(config: Config, rules: Rules, log: Log) -> tuple[list[Planned], list[str]]:
    """The games of one trajectory, and why it has none of messages beside that of its agents.

    Raises UserError or ValueError where it has none at all, with the reason.
    """
    if rules.value == replay.NAME:
        games = replay.games(log, rules, f"verdict of {config.tasks.verifier}", _roles(config))
        if not games:
            raise ValueError("nobody but the answering agent spoke, so there is nobody to replay without")
        return [Planned(game, chosen("loo", 1, 2, None, 0)) for game in games], []
    if rules.value == recount.NAME:
        votes = recount.game(log, rules, f"verdict of {config.tasks.verifier}", _roles(config))
        return [Planned(votes, _estimator(config, votes, config.annotate.budget))], []
    target = (log.task.references or ("",))[0]
    if not target:
        raise ValueError("no reference answer to score")
    kinds = ("agent", "message") if _messages(config) else ("agent",)
    made, unplayable = [], []
    for kind in kinds:
        game = build_game(log.trajectory, log.messages, target, rules, _roles(config), kind)
        if game is None:
            raise ValueError("no message that could be masked: nobody but the answering message spoke")
        try:
            made.append(Planned(game, _estimator(config, game, config.annotate.budget)))
        except UserError as error:
            if kind == "agent":
                raise
            unplayable.append(str(error))
    return made, unplayable


def _estimator(config: Config, game: Game, budget: int) -> Estimator:
    if len(game.players) > MAX_PLAYERS:
        raise UserError(f"a game of {len(game.players)} {game.kind}s cannot be played (at most {MAX_PLAYERS})")
    return chosen(config.annotate.estimator, len(game.players), budget, _unions(game), config.run.seed)


def _unions(game: Game) -> tuple[str, ...] | None:
    """Messages are united by their agents."""
    return game.agents if game.kind == "message" else None


def _estimators(config: Config, shard: Shard) -> Collection[str]:
    """Names of the estimators whose credits this kind of annotation can hold."""
    if shard.rules.value == replay.NAME:
        return ("loo",)
    names = possible(config.annotate.estimator, False)
    return tuple(dict.fromkeys([*names, *(possible(config.annotate.estimator, True) if _messages(config) else ())]))


def _messages(config: Config) -> bool:
    return config.annotate.players == "messages"


def _replayed(
    plan: AnnotatePlan, shard: Shard, found: Games, rejects: list[dict[str, Any]], write: Any
) -> tuple[list[Planned], list[dict[str, Any]]]:
    """Sample both arms of every game, all together; their rollouts are kept as trajectories."""
    bench = Bench.open(plan.config) if found.planned else None
    asked = [replay.rollouts(one.game, found.logs[one.game.trajectory_id]) for one in found.planned]
    verdicts = iter(bench.judge("replays", [one for some in asked for one in some]) if bench else ())
    played: list[Planned] = []
    coalitions: list[dict[str, Any]] = []
    for one, some in zip(found.planned, asked, strict=True):
        mine = [next(verdicts)[1] for _ in some]
        try:
            coalitions += list(replay.values(one.game, mine))
            played.append(one)
        except ValueError as error:
            rejects.append(_reject(shard, one.game.trajectory_id, str(error)))
    rows = bench.played if bench else []
    write("messages", [row for one, _ in rows for row in message_rows(one, plan.config.sample, plan.policy_id)])
    write("trajectories", [{**row, "batch_index": None} for _, row in rows])
    return played, coalitions


def _recounted(config: Config, one: Planned, logs: Mapping[str, Log]) -> list[dict[str, Any]]:
    return recount.evaluate(one.game, one.masks, logs[one.game.trajectory_id], cast(Verifier, _Guarded(config)))


def _judge(config: Config, logs: Mapping[str, Log]) -> regenerate.Judge:
    verifier = _Guarded(config)

    def right(answer: str, game: Game) -> bool:
        return bool(answer) and verifier.verify(answer, logs[game.trajectory_id].task.references).success

    return right


class _Guarded:
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


def _rules(config: Config, scorer: str, topology: Nature | None) -> Rules:
    """What the games of sampled (or, without a topology, imported) trajectories have in common, defaults resolved."""
    section = config.annotate
    value = section.value if section.value != "auto" else topology.value if topology else likelihood.NAME
    answerer = section.answerer
    if answerer == "auto":  # an imported log has no topology, and its answer is a move like any other
        answerer = "outcome" if topology and topology.answerer == "outcome" else "player"
    if value == recount.NAME:
        if topology is None or topology.value != recount.NAME:
            team = f"a {topology.name} team takes" if topology else "imported logs hold"
            raise UserError(f"annotate.value = 'recount': {team} no vote; leave it at auto")
        return Rules(value, scorer="", answerer="player")
    sampled = value != likelihood.NAME
    decoding = config.sample.model_dump(include={"temperature", "top_p", "top_k", "max_tokens"}) if sampled else None
    masks = value != replay.NAME
    return Rules(
        value=value,
        scorer=scorer,
        answerer=answerer,
        masking=section.masking if masks else None,
        cue=section.cue if masks else None,
        window=config.model.max_model_len,
        k=section.samples if sampled else None,
        decoding=json.dumps(decoding, sort_keys=True) if decoding else None,
        seed=config.run.seed if sampled else None,
    )


def _roles(config: Config) -> dict[str, str]:
    return {agent.name: agent.role for agent in config.team.agents}


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
    tables = ["games", "coalitions", "rejects", "interactions", "message_credits"]
    tables += [f"credits/estimator={name}" for name in _estimators(plan.config, shard)]
    if shard.rules.value == replay.NAME:
        tables += ["messages", "trajectories"]
    if not store.shard_stands(plan.run, shard.name, shard.fingerprint, tables):
        return None
    return _known(plan, shard)


def _known(plan: AnnotatePlan, shard: Shard) -> set[str]:
    """Ids of the trajectories annotated or set aside, however their games were solved; what is damaged is not known."""
    store = Store(plan.config.store_root)
    found: set[str] = set()
    for table, column in (("games", "trajectory_id"), ("rejects", "file")):
        with contextlib.suppress(WorkError, SchemaError):
            places = store.read(table, plan.run, shard.name, columns=[column])[column].to_pylist()
            found |= {place.removeprefix(_PLACE) for place in places}
    return found


def _reject(shard: Shard, trajectory: str, reason: str, of: str = "") -> dict[str, Any]:
    return {
        "stage": f"annotate {shard.spec}",
        "file": f"{of}{_PLACE}{trajectory}",
        "line": 0,
        "reason": reason,
        "raw": None,
    }


def _table(name: str, data: Sequence[dict[str, Any]]) -> pa.Table:
    from apportion import schemas

    return schemas.TABLES[name].from_rows(data)
