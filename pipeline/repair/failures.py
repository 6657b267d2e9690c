"""The failures of a shard in the order in which they are looked at, and the successes beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from apportion.pipeline.repair.alternatives import Alternative, siblings
from apportion.pipeline.trajectory.log import Log


@dataclass(frozen=True)
class Failures:
    """The failures, one of every task first, and the successes of each group."""

    logs: tuple[Log, ...]
    won: Mapping[str, Sequence[Log]]

    def beside(self, log: Log) -> Alternative | None:
        """What a winning sibling wrote where it parts from `log`."""
        return siblings(log, self.won.get(log.trajectory["group_id"], ()))


def failures_among(logs: Iterable[Log]) -> Failures:
    """All failures of some logs. A rollout that a tool's fault broke off has no verdict, and is none."""
    failed: list[Log] = []
    won: dict[str, list[Log]] = defaultdict(list)
    for log in logs:
        if log.trajectory["success"]:
            won[log.trajectory["group_id"]].append(log)
        elif log.turns and log.trajectory["success"] is not None:
            failed.append(log)
    seen: dict[str, int] = defaultdict(int)
    order: list[tuple[int, int]] = []
    for log in failed:
        order.append((seen[log.task.task_id], len(order)))
        seen[log.task.task_id] += 1
    return Failures(tuple(failed[i] for _, i in sorted(order)), won)
