"""Stage: failed trajectories -> step scores, first errors, repairs and preference pairs, shard by shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from apportion.pipeline.core.ids import digest
from apportion.pipeline.datasets.pairs import SIBLING, pairs_of_shard
from apportion.pipeline.engines.policy import policies_of, tokenizers_of
from apportion.pipeline.localizers._configured import Configured
from apportion.pipeline.localizers._first_error import VERSION as FIRST_ERROR_VERSION
from apportion.pipeline.localizers.base import Localizer, Needs
from apportion.pipeline.play.continuation import Bench, check_conditions
from apportion.pipeline.play.play import message_rows
from apportion.pipeline.repair.alternatives import proposed, settled
from apportion.pipeline.repair.failures import Failures, failures_among
from apportion.pipeline.repair.located import PLACE, Located, locate
from apportion.pipeline.repair.located import VERSION as READING_VERSION
from apportion.pipeline.runs.run import SPOKEN, Kind, Run
from apportion.pipeline.stages.common import ALGORITHM_VERSION
from apportion.pipeline.stages.foresee_blame import how_looked_at, told_of
from apportion.pipeline.stages.ready import check_team, check_verifier
from apportion.pipeline.stages.stage import Stage
from apportion.pipeline.trajectory.case import Case, case_of
from apportion.pipeline.trajectory.log import Log


@dataclass(frozen=True)
class Shard:
    """The failures of one shard of trajectories, looked at in one way: by a localizer, or beside winning siblings."""

    source: str
    kind: str
    fingerprint: str
    imported: bool

    @property
    def name(self) -> str:
        return f"failures-{self.kind}-{self.source}"


class Blame(Stage[Shard, int]):
    """Find, repair and pair what went wrong in a run's failures."""

    verb = "blame"
    writes = ("trajectories", "messages", "steps", "localizations", "repairs", "rejects", "preferences")

    def __init__(self, run: Run) -> None:
        """Find the shards whose failures are looked at; refuse to repair under other conditions than the run's own."""
        self.run, config, section = run, run.config, run.config.failures
        self.configured = Configured(config)
        self.policies = policies_of(config)
        self.scorer = self.policies.team.scorer
        sources = run.sources(*SPOKEN) if section.localizer != "none" else []
        if any(source.kind is Kind.SAMPLED for source in sources):
            check_conditions(config, run.id, "a repair", "failures.localizer=none")
        contents = [source.fingerprint for source in sources]
        shared = section.model_dump(mode="json", include={"rollouts", "margin", "alternatives", "confirmations"})
        shards = []
        for source in sources:
            imported = source.kind is Kind.IMPORTED
            localizer = self.configured.kind_for(imported)
            for kind in (localizer, SIBLING) if section.contrast and not imported else (localizer,):
                spec = [ALGORITHM_VERSION, FIRST_ERROR_VERSION, shared, config.sampling(), source.fingerprint]
                spec += self.configured.spec(kind, self.scorer, contents) if kind != SIBLING else []
                spec += [READING_VERSION] if imported else []
                shards.append(Shard(source.name, kind, digest(spec), imported))
        self.shards: list[Shard] = shards

    def loads(self, shard: Shard) -> bool:
        """Whether the shard's localizer may be loaded: a dry run imports no code of the user's own."""
        return self.configured.loads or not self.configured.by_name(shard.kind)

    def method(self, shard: Shard) -> Localizer:
        """The shard's localizer."""
        return self.configured.method(shard.kind, shard.imported)

    def stands(self, shard: Shard) -> bool:
        """Whether all failures that are asked for were looked at or set aside."""
        done = self._done(shard)
        return done is not None and not self._wanted(shard, self.failures(shard.source)) - done

    def ready(self) -> None:
        """Also refuse a model, a team or a verifier that is not to be had, where the pending shards need it."""
        super().ready()
        config, pending = self.run.config, self.pending
        if any(not shard.imported for shard in pending):
            if config.team.agents:
                check_team(config)
            check_verifier(config)
            tokenizers_of(self.policies.by_name)
        elif self._asks_scorer(pending):
            self.policies.team.tokenizer()

    def _asks_scorer(self, pending: Sequence[Shard]) -> bool:
        """Whether a pending shard asks the model for likelihoods; code that a dry run does not load may as well."""
        shards = [shard for shard in pending if shard.kind != SIBLING and self.loads(shard)]
        return any(self.method(shard).needs is Needs.SCORER for shard in shards)

    def failures(self, source: str) -> Failures:
        """All failures of a shard of trajectories."""
        return failures_among(self.run.logs(source))

    def logs(self, shard: Shard) -> list[Log]:
        """The failures of a shard that the configuration asks for."""
        failures = self.failures(shard.source)
        wanted = self._wanted(shard, failures)
        return [log for log in failures.logs if log.trajectory_id in wanted]

    def _wanted(self, shard: Shard, failures: Failures) -> set[str]:
        """Ids of the failures that the configuration asks for."""
        logs = failures.logs[: self.run.config.failures.limit]
        return {log.trajectory_id for log in logs if shard.kind != SIBLING or failures.beside(log)}

    def _done(self, shard: Shard) -> set[str] | None:
        """Ids of the failures looked at or set aside; None where the shard does not stand."""
        if not super().stands(shard):
            return None
        table = "repairs" if shard.kind == SIBLING else "localizations"
        looked = self.run.read(table, shard.name, ["trajectory_id"])["trajectory_id"].to_pylist()
        aside = self.run.read("rejects", shard.name, ["file"])["file"].to_pylist()
        return {*looked, *(place.removeprefix(PLACE) for place in aside)}

    def work(self, shard: Shard) -> int:
        """Work through the failures of one shard and commit its tables, preferences last. Returns those looked at.

        Failures looked at before stay: a narrower choice loses nothing.
        """
        config, section = self.run.config, self.run.config.failures
        failures = self.failures(shard.source)
        wanted = self._wanted(shard, failures) | (self._done(shard) or set())
        logs = [log for log in failures.logs if log.trajectory_id in wanted]
        bench = Bench.open(config) if logs and not shard.imported else None
        located: list[Located] = []
        rejects: list[dict[str, Any]] = []
        repairs = [sibling for log in logs if (sibling := failures.beside(log))] if shard.kind == SIBLING else []
        if logs and shard.kind != SIBLING:
            means, by_name = self.configured.means(bench.judge if bench else None), self.configured.by_name(shard.kind)
            located, rejects = locate(logs, self.method(shard), shard.kind, self._labelled(), means, everywhere=by_name)
        if bench:
            if located:
                repairs = proposed(located, bench.judge, shard.kind, section.alternatives, config.run.seed)
            repairs = settled(repairs, bench.judge, shard.kind, section.confirmations, config.run.seed)
        write = self.run.writer(shard.name, shard.fingerprint)
        played = bench.played if bench else []
        write("trajectories", [{**row, "batch_index": None} for _, row in played])
        write("messages", [row for one, _ in played for row in message_rows(one, config.sample)])
        asked = {Needs.SCORER: self.scorer, Needs.CONTINUATIONS: self.policies.id}
        write("steps", [row for one in located for row in one.steps(asked.get(one.method.needs))])
        write("localizations", [one.row() for one in located])
        repair_rows = [repair.row() for repair in repairs]
        write("repairs", repair_rows)
        write("rejects", rejects)
        write("preferences", pairs_of_shard(repair_rows, logs, self.run.read("tasks"), shard.name))
        return 0 if shard.kind == SIBLING else len(logs)

    def _labelled(self) -> list[Case]:
        """The run's failures that their source has labelled: what a localizer without weights learns from."""
        sources = dict.fromkeys(shard.source for shard in self.shards if shard.imported)
        cases = (case_of(log) for source in sources for log in self.run.logs(source))
        return [case for case in cases if case.label is not None]

    def how(self) -> Iterator[str]:
        """How failures are looked at, where that is not plain from the configuration."""
        yield from how_looked_at(self)

    def foretell(self) -> Iterator[str]:
        """Failures, prefixes and continuations of the pending shards; what is not looked at, and why."""
        yield from told_of(self, self.policies.team.tokenizer() if self._asks_scorer(self.pending) else None)
