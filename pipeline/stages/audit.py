"""Stage: the tables of a run -> the figures of its audit; and which replays are still to be sampled for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc

from apportion import schemas
from apportion.pipeline.audit.fidelity import fidelity
from apportion.pipeline.audit.inputs import TRUTH, masked_credits, masked_games, replayed
from apportion.pipeline.audit.solver import credit_by_role, games_say, solver
from apportion.pipeline.core.config import AnnotateConfig, Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.frames import frame
from apportion.pipeline.core.ids import digest
from apportion.pipeline.runs.run import Kind, Run
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.common import ALGORITHM_VERSION
from apportion.pipeline.stages.credit import Credit, Shard
from apportion.pipeline.stages.foresee_credit import foresee, notes
from apportion.pipeline.stages.ready import to_continue
from apportion.pipeline.stages.stage import Stage

SHARD = "audit"
AUDIT_VERSION = 2
"""Raise it when the same tables would give other figures."""
_READ = {
    "games": None,
    "credits": None,
    "coalitions": ["game_id", "trajectory_id", "kept", "value", "stderr", "truncated"],
    "trajectories": [
        "trajectory_id", "origin", "parent_trajectory_id", "branch_message_index", "removed", "rollout_index",
        "success",
    ],
    "messages": ["trajectory_id", "agent", "is_outcome"],
}  # fmt: skip


class Audit(Stage[Shard, int]):
    """Replay what an audit asks for, then make its figures from the tables.

    Replayed are the first `audit.trajectories` credited trajectories, taken evenly from the sampled shards. `why_not`:
    why nothing is replayed, where nothing is; the figures are made all the same.
    """

    verb = "audit"

    def __init__(self, run: Run, *, dry: bool = False) -> None:
        """`dry` imports no code of the team's own.

        Raises UserError where nothing is credited yet, or where the configuration is not the one that sampled the run.
        """
        self.run, self.why_not = run, ""
        self.replays: Credit | None = None
        self.shards: list[Shard] = []
        credited, wanted = _credited(run.store, run.id), run.config.audit.trajectories
        sources = [source.name for source in run.sources(Kind.SAMPLED)]
        if not sources:
            self.why_not = "imported logs cannot be replayed: the rest of the audit is made"
        elif not wanted:
            self.why_not = "audit.trajectories = 0: nothing is replayed now"
        else:
            section = _section(run, sources, credited, wanted)
            self.replays = Credit(Run(run.config.model_copy(update={"annotate": section}), run.id), dry=dry)
            self.replays.limited_by = f"audit.trajectories = {wanted}"
            self.shards = [shard for shard in self.replays.shards if shard.source in sources]
            self.replays.shards = self.shards

    def stands(self, shard: Shard) -> bool:
        """See `Credit.stands`."""
        return self.replays is not None and self.replays.stands(shard)

    def ready(self) -> None:
        """Also refuse what keeps recorded runs from being played on."""
        to_continue(self.run.config, self.run.id, bool(self.pending))

    def work(self, shard: Shard) -> int:
        """Replay one shard. Returns the number of games."""
        assert self.replays is not None
        return self.replays.work(shard)

    def finish(self, results: Sequence[int]) -> None:
        """Make the figures."""
        make(self.run.config, self.run.id)

    def foretell(self) -> Iterator[str]:
        """How much would be replayed, and what not."""
        seen = foresee(self.replays, None) if self.replays else None
        if self.replays and self.replays.assumed:
            yield self.replays.assumed
        rollouts, shards = seen.total["samples"] if seen else 0, len(self.pending)
        yield f"run {self.run.id}: would replay {rollouts:,} rollouts in {shards} shards, then make the figures"
        if seen:
            yield from notes(seen, self.run.config.model.max_model_len)


def _section(run: Run, sources: Sequence[str], credited: set[str], wanted: int) -> AnnotateConfig:
    """What is to be replayed, as the section that asks for it."""
    rollouts = [run.read("trajectories", name, ["trajectory_id", "success"]) for name in sources]
    won = [table.filter(pc.field("success"))["trajectory_id"].to_pylist() for table in rollouts]
    successes_only = credited <= {name for names in won for name in names}
    asked = won if successes_only else [table["trajectory_id"].to_pylist() for table in rollouts]
    return AnnotateConfig(
        value=TRUTH,
        on="successes" if successes_only else "all",
        limit=_limit([[name in credited for name in names] for names in asked], wanted),
        samples=run.config.audit.samples,
    )


def make(config: Config, run: str) -> pa.Table:
    """The rows of `audit` of a run, made from its tables and written as one shard unless they are current.

    Raises UserError where nothing is credited.
    """
    store = Store(config.store_root)
    _credited(store, run)
    fingerprint = _fingerprint(store, run)
    if not store.shard_stands(run, SHARD, fingerprint, ("audit",)):
        store.write_shard("audit", run, SHARD, _figures(store, run), fingerprint)
    return store.read("audit", run, SHARD).drop_columns("run_id")


def made(config: Config, run: str) -> pa.Table | None:
    """As `make`; None for a run without credit."""
    return make(config, run) if len(masked_games(frame(Store(config.store_root).read("games", run)))) else None


def stands(store: Store, run: str) -> bool:
    """Whether the run's audit was made from the tables as they are now."""
    return store.shard_stands(run, SHARD, _fingerprint(store, run), ("audit",))


def _figures(store: Store, run: str) -> pa.Table:
    tables = {name: frame(store.read(name, run, columns=columns)) for name, columns in _READ.items()}
    games, coalitions = masked_games(tables["games"]), tables["coalitions"]
    coalitions = coalitions.unique(["game_id", "kept"], keep="first", maintain_order=True)
    masked = masked_credits(games, tables["credits"])
    answerers = tables["messages"].filter("is_outcome").select("trajectory_id", "agent")
    agents = tables["credits"].filter(player_kind="agent")
    figures = [
        *fidelity(masked, replayed(tables["games"], agents), tables["trajectories"], answerers),
        *solver(games, agents, coalitions),
        *games_say(games, masked, coalitions),
        *credit_by_role(masked),
    ]
    return schemas.TABLES["audit"].from_rows([figure.row() for figure in figures])


def _credited(store: Store, run: str) -> set[str]:
    """Ids of the trajectories with masked credit of agents. Raises UserError where there are none."""
    games = masked_games(frame(store.read("games", run)))
    if not len(games):
        raise UserError(f"run {run!r} has no credit to audit; make it first: apportion annotate --run {run}")
    return set(games["trajectory_id"])


def _limit(credited: Sequence[Sequence[bool]], wanted: int) -> int:
    """The smallest number of trajectories from the head of every shard among which `wanted` are credited, or all are.

    `credited`: of each shard, whether its trajectories are, in order.
    """
    longest = max((len(flags) for flags in credited), default=0)
    at = [sum(flags[place] for flags in credited if place < len(flags)) for place in range(longest)]
    enough = (place for place, total in enumerate(accumulate(at), 1) if total >= wanted)
    return next(enough, max(1, longest))


def _fingerprint(store: Store, run: str) -> str:
    """Digest of everything that the figures are made from."""
    inputs = []
    for table in _READ:
        for path in store.shards(table, run):
            shard = path.stem.removeprefix("part-")
            partition = dict(part.split("=", 1) for part in path.parts[-3:] if part.startswith("estimator="))
            inputs.append([table, shard, partition, store.shard_fingerprint(table, run, shard, **partition)])
    return digest([ALGORITHM_VERSION, AUDIT_VERSION, inputs])
