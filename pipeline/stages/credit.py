"""Stage: trajectories -> games, coalitions, credits and message credits, shard by shard."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.compute as pc

from apportion import schemas
from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.core.frames import frame
from apportion.pipeline.core.ids import digest
from apportion.pipeline.core.registry import family
from apportion.pipeline.engines.checkpoints import check_window, fingerprint, resolve_dtype, resolve_model
from apportion.pipeline.games.game import Rules
from apportion.pipeline.games.rejects import COLUMNS, unplayable
from apportion.pipeline.games.tables import credit_table, interaction_table, leak_of, message_table
from apportion.pipeline.play.continuation import logs_of
from apportion.pipeline.runs.store import Store
from apportion.pipeline.runs.trust import keep_rules, nature_for, rules_kept
from apportion.pipeline.stages.common import ALGORITHM_VERSION
from apportion.pipeline.stages.sample import policy_of, writer
from apportion.pipeline.teams.load import Nature
from apportion.pipeline.values._desk import Desk
from apportion.pipeline.values._shard import Games, estimators_of, plan_games, value_games
from apportion.pipeline.values.base import DEFAULT, Need, Terms, ValueFunction, value_function
from apportion.schemas import SchemaError

SPOKEN = ("sampled-", "imported-")
"""Shards of a team's own rollouts; others hold counterfactual ones."""
_TURN_COLUMNS = ["trajectory_id", "message_index", "agent", "text", "is_outcome"]


@dataclass(frozen=True)
class Shard:
    """One shard of trajectories of the run, to be annotated by one specification."""

    source: str
    spec: str
    value: ValueFunction
    rules: Rules
    fingerprint: str

    @property
    def name(self) -> str:
        """One that writes trajectories of its own, which are nobody's to annotate again, is called after its value."""
        return f"{f'{self.value.name}-' if self.value.writes else ''}{self.source}-{self.spec}"


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
    """What a dry run took for granted of code that it did not import."""

    @property
    def pending(self) -> tuple[Shard, ...]:
        """The shards that do not stand yet, or whose annotation leaves out a trajectory that is asked for."""
        return tuple(s for s in self.shards if (done := _done(self, s)) is None or _asked_for(self, s) - done)


def plan(config: Config, run: str, *, dry: bool = False) -> AnnotatePlan:
    """Find the run's shards; refuse a run that is not there, or one whose games cannot be valued as configured.

    `dry` imports no code of the user's own: what a topology would tell comes from the run's manifest.
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
    nature, assumed = nature_for(config, store.manifest(run), dry=dry) if False in imported.values() else (None, "")
    kept = store.manifest(run) if dry else None
    kinds = {alien: _ruled(config, scorer, None if alien else nature, dry, kept) for alien in set(imported.values())}
    names = [name for name in names if not (imported[name] and kinds[True][0].no_logs)]
    if imported and not names:
        raise UserError(f"run {run!r} holds imported logs, which {kinds[True][0].no_logs}")
    for value, _, _ in {imported[name]: kinds[imported[name]] for name in names}.values():
        value.check(config, run, policy_id)
    judged = [config.tasks.verifier, *filter(None, [config.tasks.verifier_options])]
    specs = {alien: digest([rules.__dict__, *judged], 8) for alien, (_, rules, _) in kinds.items()}
    solved = section.model_dump(mode="json", include={"players", "estimator", "budget", "token_budget"})
    shards = []
    for name in names:
        value, rules, _ = kinds[imported[name]]
        spec, source = specs[imported[name]], store.shard_fingerprint("trajectories", run, name)
        conditions = config.sampling() if Need.RUN in value.needs else None
        further = filter(None, [value.own_code])
        print_of = digest([ALGORITHM_VERSION, spec, solved, source, conditions, *further])
        shards.append(Shard(name, spec, value, rules, print_of))
    told = " ".join(dict.fromkeys(filter(None, [assumed, *(note for _, _, note in kinds.values())])))
    return AnnotatePlan(config, run, specs.get(any(imported.values()), ""), scorer, policy_id, tuple(shards), told)


def _ruled(
    config: Config, scorer: str, topology: Nature | None, dry: bool, manifest: Mapping[str, Any] | None
) -> tuple[ValueFunction, Rules, str]:
    """Value function and rules of sampled (or, without a topology, imported) trajectories, and what is assumed."""
    fitting = topology.value if topology else DEFAULT
    name = fitting if config.annotate.value == "auto" else config.annotate.value
    unread = dry and family("values").is_own(name)
    value = value_function(config.annotate, DEFAULT if unread else name)
    answerer = "outcome" if topology and topology.answerer == "outcome" else "player"
    rules = value.rules(Terms(config, scorer, topology.name if topology else "", fitting, answerer))
    if not unread:
        return value, rules, ""
    kept = rules_kept(manifest, config.annotate.value, config.annotate.options)
    note = f"a dry run does not import annotate.value = {name!r}: all is counted as to be done, by {value.name}"
    return value, Rules(**kept) if kept else replace(rules, value=name), note


def games_of(plan: AnnotatePlan, shard: Shard) -> Games:
    """Plan the games of the trajectories asked for, and of those annotated before: a narrower choice loses nothing,
    and another estimator solves all of them anew.
    """
    wanted = _asked_for(plan, shard) | _known(plan, shard)
    logs = logs_of(Store(plan.config.store_root), plan.run, shard.source)
    wanted_logs = [log for log in logs if log.trajectory_id in wanted]
    return plan_games(shard.value, shard.rules, wanted_logs, plan.config)


def run_shard(plan: AnnotatePlan, shard: Shard) -> int:
    """Annotate one shard and commit its tables, message credits last. Returns the number of games."""
    config, store = plan.config, Store(plan.config.store_root)
    games = games_of(plan, shard)
    total = sum(len(one.masks) for one in games.planned)
    desk = Desk(config, plan.policy_id, games.logs, f"coalitions {shard.source}", total)
    valued = value_games(shard.value, games, desk)
    if shard.value.own_code:
        keep_rules(store, plan.run, config.annotate.value, config.annotate.options, shard.rules.__dict__)
    write = writer(store, plan.run, shard.name, shard.fingerprint)
    for table, rows in shard.value.further(desk).items():
        write(table, rows)
    write("games", [one.game.row(leak_of(one.game)) for one in valued.played])
    write("coalitions", valued.coalitions)
    write("rejects", [one.row(f"annotate {shard.spec}") for one in valued.aside])
    values = frame(schemas.TABLES["coalitions"].from_rows(valued.coalitions))
    credits = credit_table(valued.played, values)
    turns = store.read("messages", plan.run, shard.source, columns=[*_TURN_COLUMNS, "role"])
    said = frame(turns.filter(pc.field("role") == "assistant").select(_TURN_COLUMNS))
    names = estimators_of(shard.value, config)
    for name in names:
        part = credits.filter(pc.field("estimator") == name).drop_columns("estimator")
        store.write_shard("credits", plan.run, shard.name, part, shard.fingerprint, estimator=name)
    store.keep_partitions("credits", plan.run, shard.name, {"estimator": names})
    whole = [one for one in valued.played if one.game.branch is None]  # games of branches are not the trajectory's own
    for table, data in {
        "interactions": interaction_table(valued.played, values),
        "message_credits": message_table(whole, credits, said),
    }.items():
        store.write_shard(table, plan.run, shard.name, data, shard.fingerprint)
    return len(valued.played)


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
    tables = ["games", "coalitions", "rejects", "interactions", "message_credits", *shard.value.writes]
    tables += [f"credits/estimator={name}" for name in estimators_of(shard.value, plan.config)]
    if not Store(plan.config.store_root).shard_stands(plan.run, shard.name, shard.fingerprint, tables):
        return None
    return _known(plan, shard)


def _known(plan: AnnotatePlan, shard: Shard) -> set[str]:
    """Ids of the trajectories annotated or set aside, however their games were solved; what is damaged is not known."""
    store, known = Store(plan.config.store_root), set[str]()
    with contextlib.suppress(WorkError, SchemaError):
        known |= set(store.read("games", plan.run, shard.name, columns=["trajectory_id"])["trajectory_id"].to_pylist())
    with contextlib.suppress(WorkError, SchemaError):
        known |= unplayable(store.read("rejects", plan.run, shard.name, columns=COLUMNS))
    return known
