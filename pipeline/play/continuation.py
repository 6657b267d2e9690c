"""Where recorded runs are continued: the same team, policy and decoding, from an exact prefix to the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.progress import watcher
from apportion.pipeline.engines import running
from apportion.pipeline.engines.base import Engine
from apportion.pipeline.play.play import Played, Rollout, play, trajectory_row
from apportion.pipeline.play.team import Team, load_team
from apportion.pipeline.runs.rules import rules_of
from apportion.pipeline.runs.store import Store
from apportion.pipeline.teams.base import DivergedError
from apportion.pipeline.verifiers import get_verifier


def check_conditions(config: Config, run: str, policy_id: str, what: str, cure: str) -> None:
    """Refuse to continue a run under other conditions than its own. `what` is tried; the setting `cure` leaves it."""
    store = Store(config.store_root)
    if policy_id not in store.read("policies", run, "00000", columns=["policy_id"])["policy_id"].to_pylist():
        raise UserError(
            f"model.path = {config.model.path!r} did not sample run {run!r}: {what} is written by the same "
            f"policy; leave model.path as it was, or set {cure}"
        )
    if (store.manifest(run) or {}).get("rules") not in (None, rules_of(config)):
        raise UserError(
            f"run {run!r} was sampled with another team, decoding, verifier, seed or other documents: {what} is "
            f"tried under the same conditions; leave them as they were, or set {cure}"
        )


@dataclass
class Bench:
    """Where continuations are played and judged; it keeps every one with its row of `trajectories`."""

    config: Config
    engine: Engine
    team: Team
    played: list[tuple[Played, dict[str, Any]]]

    @classmethod
    def open(cls, config: Config) -> Bench:
        """With the engine of this process and an empty cache."""
        engine = running.engine_for(config.model, config.data_root)
        engine.reset_prefix_cache()
        team = load_team(config.team)[0] if config.team.agents else None
        return cls(config, engine, team, [])  # type: ignore[arg-type]

    def judge(self, name: str, asked: Sequence[Rollout]) -> list[tuple[Played, bool | None]]:
        """Play continuations to their end, all together, and verify them; None where a fault left no verdict.

        Raises WorkError where the team does not repeat a recorded prefix.
        """
        done = watcher().start(name, len(asked))
        verifier = get_verifier(self.config.tasks.verifier, **self.config.tasks.verifier_options)
        result = []
        for one in play(self.engine, self.team, asked, self.config.sample, done):
            if one.talk.diverged:
                raise DivergedError(f"trajectory {one.rollout.parent}: {one.talk.error}")
            row = trajectory_row(one, verifier, 0, self.config.tasks.verifier)
            self.played.append((one, row))
            result.append((one, row["success"]))
        return result
