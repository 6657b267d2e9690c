"""Stage: failed trajectories -> step scores, first errors, repairs and preference pairs, shard by shard."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.ids import digest
from apportion.pipeline.engines.checkpoints import fingerprint, resolve_dtype, resolve_model
from apportion.pipeline.localizers._configured import Configured
from apportion.pipeline.localizers._first_error import VERSION as FIRST_ERROR_VERSION
from apportion.pipeline.localizers.base import Localizer, Needs
from apportion.pipeline.play.continuation import Bench, check_conditions, logs_of
from apportion.pipeline.play.play import message_rows
from apportion.pipeline.repair.alternatives import MOST_WINNERS, SIBLING, proposed, settled
from apportion.pipeline.repair.failures import Failures, failures_among
from apportion.pipeline.repair.located import PLACE, Located, locate, unlike
from apportion.pipeline.repair.located import VERSION as READING_VERSION
from apportion.pipeline.repair.pairs import pairs_of_shard
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.common import ALGORITHM_VERSION
from apportion.pipeline.stages.credit import SPOKEN
from apportion.pipeline.stages.sample import policy_of, writer
from apportion.pipeline.trajectory.case import Case, case_of
from apportion.pipeline.trajectory.log import Log

TABLES = ("trajectories", "messages", "steps", "localizations", "repairs", "rejects", "preferences")


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


@dataclass(frozen=True)
class FailurePlan:
    """What the failure branch would do."""

    config: Config
    run: str
    scorer: str
    policy_id: str
    shards: tuple[Shard, ...]

    @property
    def pending(self) -> tuple[Shard, ...]:
        """The shards that do not stand yet, or that leave out a failure that is asked for."""
        return tuple(
            s
            for s in self.shards
            if (done := _done(self, s)) is None or _asked_for(self, s, failures_of(self, s.source)) - done
        )

    @cached_property
    def configured(self) -> Configured:
        """The localizers that look at its shards."""
        return Configured(self.config)

    @property
    def asks_scorer(self) -> bool:
        """Whether a pending shard asks the model for likelihoods; code that a dry run does not load may as well."""
        methods = [self.method(shard) for shard in self.pending if shard.kind != SIBLING and self.loads(shard)]
        return any(method.needs is Needs.SCORER for method in methods)

    def loads(self, shard: Shard) -> bool:
        """Whether the shard's localizer may be loaded."""
        return self.configured.loads or not self.configured.by_name(shard.kind)

    def method(self, shard: Shard) -> Localizer:
        """The shard's localizer."""
        return self.configured.method(shard.kind, shard.imported)


def plan(config: Config, run: str) -> FailurePlan:
    """Find the shards whose failures are looked at; refuse to repair under other conditions than the run's own."""
    store, section = Store(config.store_root), config.failures
    path = resolve_model(config.model.path, data_root=config.data_root, hub=config.model.hub)
    scorer = digest([*fingerprint(path), resolve_dtype(config.model.dtype)])
    policy_id, _ = policy_of(config)
    names = [shard.stem.removeprefix("part-") for shard in store.shards("trajectories", run)]
    names = [name for name in names if name.startswith(SPOKEN)] if section.localizer != "none" else []
    if any(name.startswith("sampled-") for name in names):
        check_conditions(config, run, policy_id, "a repair", "failures.localizer=none")
    sources = {name: store.shard_fingerprint("trajectories", run, name) for name in names}
    told = section.model_dump(mode="json", include={"rollouts", "margin", "alternatives", "confirmations"})
    configured, shards = Configured(config), []
    for name, source in sources.items():
        imported = name.startswith("imported-")
        localizer = configured.kind_for(imported)
        for kind in (localizer, SIBLING) if section.contrast and not imported else (localizer,):
            spec = [ALGORITHM_VERSION, FIRST_ERROR_VERSION, told, config.sampling(), source]
            spec += configured.spec(kind, scorer, list(sources.values())) if kind != SIBLING else []
            spec += [READING_VERSION] if imported else []
            shards.append(Shard(name, kind, digest(spec), imported))
    return FailurePlan(config, run, scorer, policy_id, tuple(shards))


def failures_of(plan: FailurePlan, source: str) -> Failures:
    """All failures of a shard of trajectories."""
    return failures_among(logs_of(Store(plan.config.store_root), plan.run, source))


def wanted_of(plan: FailurePlan, shard: Shard, found: Failures) -> list[Log]:
    """The failures that the configuration asks for."""
    wanted = _asked_for(plan, shard, found)
    return [log for log in found.logs if log.trajectory_id in wanted]


def _asked_for(plan: FailurePlan, shard: Shard, found: Failures) -> set[str]:
    """Ids of the failures that the configuration asks for."""
    logs = found.logs[: plan.config.failures.limit]
    return {log.trajectory_id for log in logs if shard.kind != SIBLING or found.beside(log)}


def _done(plan: FailurePlan, shard: Shard) -> set[str] | None:
    """Ids of the failures looked at or set aside; None where the shard does not stand."""
    store = Store(plan.config.store_root)
    if not store.shard_stands(plan.run, shard.name, shard.fingerprint, TABLES):
        return None
    table = "repairs" if shard.kind == SIBLING else "localizations"
    looked = store.read(table, plan.run, shard.name, columns=["trajectory_id"])["trajectory_id"].to_pylist()
    aside = store.read("rejects", plan.run, shard.name, columns=["file"])["file"].to_pylist()
    return {*looked, *(place.removeprefix(PLACE) for place in aside)}


def cost(plan: FailurePlan) -> dict[str, int]:
    """Of the pending shards: failures, those of which nothing will be said since they are unlike what the localizer
    learned from, their prefixes, and the most continuations that will be sampled."""
    section = plan.config.failures
    total = {"failures": 0, "unlike": 0, "prefixes": 0, "continuations": 0}
    for shard in plan.pending:
        logs = wanted_of(plan, shard, failures_of(plan, shard.source))
        if shard.kind == SIBLING:
            total["continuations"] += 2 * section.confirmations * len(logs)
            continue
        total["failures"] += len(logs)
        total["prefixes"] += sum(len(log.turns) + 1 for log in logs)
        if plan.loads(shard):
            method, cases = plan.method(shard), [case_of(log) for log in logs]
            if not plan.configured.by_name(shard.kind):
                total["unlike"] += sum(map(unlike, method.judge(cases, plan.configured.means())))
            total["continuations"] += sum(map(method.continuations, cases))
        if section.alternatives and not shard.imported:
            total["continuations"] += len(logs) * (section.alternatives + section.confirmations * (MOST_WINNERS + 1))
    return total


def run_shard(plan: FailurePlan, shard: Shard) -> int:
    """Work through the failures of one shard and commit its tables, preferences last. Returns the failures looked at.

    Failures looked at before stay: a narrower choice loses nothing.
    """
    config, section, store = plan.config, plan.config.failures, Store(plan.config.store_root)
    found = failures_of(plan, shard.source)
    wanted = _asked_for(plan, shard, found) | (_done(plan, shard) or set())
    logs = [log for log in found.logs if log.trajectory_id in wanted]
    bench = Bench.open(config) if logs and not shard.imported else None
    located: list[Located] = []
    rejects: list[dict[str, Any]] = []
    repairs = [one for log in logs if (one := found.beside(log))] if shard.kind == SIBLING else []
    if logs and shard.kind != SIBLING:
        means = plan.configured.means(bench.judge if bench else None)
        by_name = plan.configured.by_name(shard.kind)
        located, rejects = locate(logs, plan.method(shard), shard.kind, _labelled(plan), means, everywhere=by_name)
    if bench:
        if located:
            repairs = proposed(located, bench.judge, shard.kind, section.alternatives, config.run.seed)
        repairs = settled(repairs, bench.judge, shard.kind, section.confirmations, config.run.seed)
    write = writer(store, plan.run, shard.name, shard.fingerprint)
    played = bench.played if bench else []
    write("trajectories", [{**row, "batch_index": None} for _, row in played])
    write("messages", [row for one, _ in played for row in message_rows(one, config.sample, plan.policy_id)])
    asked = {Needs.SCORER: plan.scorer, Needs.CONTINUATIONS: plan.policy_id}
    write("steps", [row for one in located for row in one.steps(asked.get(one.method.needs))])
    write("localizations", [one.row() for one in located])
    repair_rows = [one.row(plan.policy_id) for one in repairs]
    write("repairs", repair_rows)
    write("rejects", rejects)
    preferences = pairs_of_shard(repair_rows, logs, store.read("tasks", plan.run), shard.name)
    store.write_shard("preferences", plan.run, shard.name, preferences, shard.fingerprint)
    return 0 if shard.kind == SIBLING else len(logs)


def _labelled(plan: FailurePlan) -> list[Case]:
    """The run's failures that their source has labelled: what a localizer without weights learns from."""
    store, sources = Store(plan.config.store_root), dict.fromkeys(s.source for s in plan.shards if s.imported)
    cases = (case_of(log) for source in sources for log in logs_of(store, plan.run, source))
    return [case for case in cases if case.label is not None]
