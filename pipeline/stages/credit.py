"""Stage: trajectories -> games, coalitions, credits and message credits, shard by shard."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow.compute as pc

from apportion import schemas
from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.core.frames import frame
from apportion.pipeline.core.ids import digest
from apportion.pipeline.core.registry import family
from apportion.pipeline.engines.policy import policies_of, tokenizers_of
from apportion.pipeline.games.game import Rules
from apportion.pipeline.games.rejects import COLUMNS, unplayable
from apportion.pipeline.games.tables import credit_table, interaction_table, leak_of, message_table
from apportion.pipeline.play.team import Nature, nature_for
from apportion.pipeline.runs.run import SPOKEN, Kind, Run
from apportion.pipeline.runs.trust import keep_rules, rules_kept
from apportion.pipeline.stages.common import ALGORITHM_VERSION
from apportion.pipeline.stages.foresee_credit import foresee, told_of
from apportion.pipeline.stages.ready import check_team, check_verifier
from apportion.pipeline.stages.stage import Stage
from apportion.pipeline.values._desk import Desk
from apportion.pipeline.values._shard import Games, estimators_of, plan_games, value_games
from apportion.pipeline.values.base import DEFAULT, Need, Terms, ValueFunction, value_function
from apportion.schemas import SchemaError

_TURN_COLUMNS = ["trajectory_id", "message_index", "agent", "text", "is_outcome"]


@dataclass(frozen=True)
class Shard:
    """One shard of trajectories of the run, to be credited by one specification."""

    source: str
    spec: str
    value: ValueFunction
    rules: Rules
    fingerprint: str

    @property
    def name(self) -> str:
        """One that writes trajectories of its own, which are nobody's to annotate again, is called after its value."""
        return f"{f'{self.value.name}-' if self.value.writes else ''}{self.source}-{self.spec}"


class Credit(Stage[Shard, int]):
    """Credit the agents of a run's trajectories by the configured value function and estimator.

    `spec`: digest of what makes a game, which names the shards of this kind of credit; how games are solved is not in
    it. `assumed`: what a dry run took for granted of code that it did not import. `limited_by`: what limits the
    trajectories in the user's words, where that is not `annotate.limit`.
    """

    verb = "credit"
    writes = ("games", "coalitions", "rejects", "interactions", "message_credits")
    limited_by = ""

    def __init__(self, run: Run, *, dry: bool = False) -> None:
        """Find the run's shards; refuse a run that is not there, or whose games cannot be valued as configured.

        `dry` imports no code of the user's own: what a topology would tell comes from the run's manifest.
        """
        self.run, config = run, run.config
        sources = run.sources(*SPOKEN)
        self.policies = policies_of(config)
        sources = sources if config.annotate.on != "none" else []
        logs = {source.kind is Kind.IMPORTED for source in sources}
        nature, assumed = nature_for(config, run.manifest, dry=dry) if False in logs else (None, "")
        kinds = {alien: self._ruled(None if alien else nature, dry) for alien in logs}
        valued = [source for source in sources if not (source.kind is Kind.IMPORTED and kinds[True][0].no_logs)]
        if sources and not valued:
            raise UserError(f"run {run.id!r} holds imported logs, which {kinds[True][0].no_logs}")
        for value in {source.kind: kinds[source.kind is Kind.IMPORTED][0] for source in valued}.values():
            value.check(config, run.id)
        judged = [config.tasks.verifier, *filter(None, [config.tasks.verifier_options])]
        specs = {alien: digest([rules.__dict__, *judged], 8) for alien, (_, rules, _) in kinds.items()}
        solved = config.annotate.model_dump(mode="json", include={"players", "estimator", "budget", "token_budget"})
        shards = []
        for source in valued:
            value, rules, _ = kinds[source.kind is Kind.IMPORTED]
            spec = specs[source.kind is Kind.IMPORTED]
            conditions = config.sampling() if Need.RUN in value.needs else None
            further = filter(None, [value.own_code])
            fingerprint = digest([ALGORITHM_VERSION, spec, solved, source.fingerprint, conditions, *further])
            shards.append(Shard(source.name, spec, value, rules, fingerprint))
        self.shards: list[Shard] = shards
        self.spec = specs.get(True in logs, "")
        self.assumed = " ".join(dict.fromkeys(filter(None, [assumed, *(note for _, _, note in kinds.values())])))

    def _ruled(self, topology: Nature | None, dry: bool) -> tuple[ValueFunction, Rules, str]:
        """Value function and rules of sampled (or, without a topology, imported) trajectories, and what is assumed."""
        config = self.run.config
        fitting = topology.value if topology else DEFAULT
        name = fitting if config.annotate.value == "auto" else config.annotate.value
        unread = dry and family("values").is_own(name)
        value = value_function(config.annotate, DEFAULT if unread else name)
        answerer = "outcome" if topology and topology.answerer == "outcome" else "player"
        rules = value.rules(
            Terms(
                config,
                self.policies.team.scorer,
                self.policies.sampler,
                topology.name if topology else "",
                fitting,
                answerer,
            )
        )
        if not unread:
            return value, rules, ""
        written = config.as_written(name)
        kept = rules_kept(self.run.manifest, written, config.annotate.options)
        note = f"a dry run does not import annotate.value = {written!r}: all is counted as to be done, by {value.name}"
        return value, Rules(**kept) if kept else replace(rules, value=name), note

    def stands(self, shard: Shard) -> bool:
        """Whether all trajectories that are asked for are credited or set aside."""
        tables = [*self.writes, *shard.value.writes]
        tables += [f"credits/estimator={name}" for name in estimators_of(shard.value, self.run.config)]
        return self.run.stands(shard.name, shard.fingerprint, tables) and not self._wanted(shard) - self._known(shard)

    def ready(self) -> None:
        """Also refuse a model, a team or a verifier that is not to be had, where the pending shards need it."""
        super().ready()
        config, needs = self.run.config, {need for shard in self.pending for need in shard.value.needs}
        if Need.RUN in needs and config.team.agents:
            check_team(config)
        if needs & {Need.RUN, Need.VERIFIER}:
            check_verifier(config)
        if needs & {Need.RUN, Need.SAMPLER}:
            tokenizers_of(self.policies.by_name)
        elif Need.SCORER in needs:
            self.policies.team.tokenizer()

    def games_of(self, shard: Shard) -> Games:
        """The games of the trajectories asked for, and of those credited before: a narrower choice loses nothing, and
        another estimator solves all of them anew.
        """
        wanted = self._wanted(shard) | self._known(shard)
        logs = [log for log in self.run.logs(shard.source) if log.trajectory_id in wanted]
        return plan_games(shard.value, shard.rules, logs, self.run.config)

    def work(self, shard: Shard) -> int:
        """Credit one shard and commit its tables, message credits last. Returns the number of games."""
        config, games = self.run.config, self.games_of(shard)
        total = sum(len(planned.masks) for planned in games.planned)
        desk = Desk(config, games.logs, f"coalitions {shard.source}", total)
        valued = value_games(shard.value, games, desk)
        if shard.value.own_code:
            name = config.as_written(config.annotate.value)
            keep_rules(self.run.store, self.run.id, name, config.annotate.options, shard.rules.__dict__)
        write = self.run.writer(shard.name, shard.fingerprint)
        for table, rows in shard.value.further(desk).items():
            write(table, rows)
        write("games", [planned.game.row(leak_of(planned.game)) for planned in valued.played])
        write("coalitions", valued.coalitions)
        write("rejects", [aside.row(f"annotate {shard.spec}") for aside in valued.aside])
        values = frame(schemas.TABLES["coalitions"].from_rows(valued.coalitions))
        credits = credit_table(valued.played, values)
        turns = self.run.read("messages", shard.source, [*_TURN_COLUMNS, "role"])
        spoken = frame(turns.filter(pc.field("role") == "assistant").select(_TURN_COLUMNS))
        names = estimators_of(shard.value, config)
        for name in names:
            write("credits", credits.filter(pc.field("estimator") == name).drop_columns("estimator"), estimator=name)
        self.run.store.keep_partitions("credits", self.run.id, shard.name, {"estimator": names})
        whole = [one for one in valued.played if one.game.branch is None]  # games of branches are not the trajectory's
        write("interactions", interaction_table(valued.played, values))
        write("message_credits", message_table(whole, credits, spoken))
        return len(valued.played)

    def foretell(self) -> Iterator[str]:
        """Games, coalitions and tokens of the pending shards; why there are no other games."""
        needs = {need for shard in self.pending for need in shard.value.needs} & {Need.SCORER, Need.SAMPLER}
        tokenizer = self.policies.team.tokenizer() if needs else None
        if self.assumed:
            yield self.assumed
        yield from told_of(self, foresee(self, tokenizer))
        if not self.shards:
            yield "annotate.on = none: nobody is credited"

    def _wanted(self, shard: Shard) -> set[str]:
        """Ids of the shard's trajectories that the configuration asks for."""
        section = self.run.config.annotate
        rollouts = self.run.read("trajectories", shard.source, ["trajectory_id", "success"])
        if section.on == "successes":
            rollouts = rollouts.filter(pc.field("success"))
        return set(rollouts["trajectory_id"].slice(0, section.limit).to_pylist())

    def _known(self, shard: Shard) -> set[str]:
        """Ids of the trajectories credited or set aside, however their games were solved; of what can be read."""
        known = set[str]()
        with contextlib.suppress(WorkError, SchemaError):
            known |= set(self.run.read("games", shard.name, ["trajectory_id"])["trajectory_id"].to_pylist())
        with contextlib.suppress(WorkError, SchemaError):
            known |= unplayable(self.run.read("rejects", shard.name, COLUMNS))
        return known
