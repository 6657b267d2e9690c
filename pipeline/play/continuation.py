"""Where recorded runs are continued: the same team, policies and decoding, from an exact prefix to the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.progress import watcher
from apportion.pipeline.engines.base import Voice, reset
from apportion.pipeline.engines.policy import policies_of, voices_of
from apportion.pipeline.play.play import Played, Rollout, play, trajectory_row
from apportion.pipeline.play.team import Team, load_team
from apportion.pipeline.runs.rules import rules_of
from apportion.pipeline.runs.store import Store
from apportion.pipeline.teams.base import DivergedError
from apportion.pipeline.verifiers import get_verifier


def check_conditions(config: Config, run: str, what: str, cure: str) -> None:
    """Refuse to continue a run under other conditions than its own. `what` is tried; the setting `cure` leaves it."""
    store = Store(config.store_root)
    sampled = set(store.read("policies", run, "00000", columns=["policy_id"])["policy_id"].to_pylist())
    for policy in policies_of(config).by_name.values():
        if policy.id not in sampled:
            raise UserError(
                f"{policy.key}.path = {policy.model.path!r} did not sample run {run!r}: {what} is written by the same "
                f"policy; leave {policy.key}.path as it was, or set {cure}"
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
    voices: Mapping[str, Voice]
    team: Team
    played: list[tuple[Played, dict[str, Any]]]

    @classmethod
    def open(cls, config: Config) -> Bench:
        """With the policies of the team and empty caches."""
        team = load_team(config.team)[0] if config.team.agents else None
        voices = voices_of(policies_of(config).of([agent.name for agent in config.team.agents]))
        reset(voices)
        return cls(config, voices, team, [])  # type: ignore[arg-type]

    def judge(self, name: str, asked: Sequence[Rollout]) -> list[tuple[Played, bool | None]]:
        """Play continuations to their end, all together, and verify them; None where a fault left no verdict.

        Raises WorkError where the team does not repeat a recorded prefix.
        """
        done = watcher().start(name, len(asked))
        verifier = get_verifier(self.config.tasks.verifier, **self.config.tasks.verifier_options)
        result = []
        for one in play(self.voices, self.team, asked, self.config.sample, done):
            if one.talk.diverged:
                raise DivergedError(f"trajectory {one.rollout.parent}: {one.talk.error}")
            row = trajectory_row(one, verifier, 0, self.config.tasks.verifier)
            self.played.append((one, row))
            result.append((one, row["success"]))
        return result
