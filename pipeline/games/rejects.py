"""Trajectories that cannot be played: their rows of `rejects`, written and read again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa

_PLACE = "trajectory "
COLUMNS = ["file", "code"]
"""What `unplayable` reads."""


class Code(StrEnum):
    """What was set aside."""

    UNPLAYABLE = "unplayable"
    """The trajectory: it has no game at all, so nobody in it has credit."""
    MESSAGES_UNPLAYABLE = "messages_unplayable"
    """The game of its messages alone; its agents have theirs."""


@dataclass(frozen=True)
class Aside:
    """What is set aside of a trajectory, and why."""

    trajectory_id: str
    reason: str
    code: Code = Code.UNPLAYABLE

    def row(self, stage: str) -> dict[str, Any]:
        """The row of `rejects`. The game of messages has a place of its own: a trajectory may be there twice."""
        of = "messages of " if self.code == Code.MESSAGES_UNPLAYABLE else ""
        place = f"{of}{_PLACE}{self.trajectory_id}"
        return {"stage": stage, "file": place, "line": 0, "reason": self.reason, "code": self.code.value}


def unplayable(rejects: pa.Table) -> set[str]:
    """Ids of the trajectories without any game, from rows of one shard of credit.

    Shards of versions before the column `code` tell by their place alone.
    """
    return {
        str(row["file"]).removeprefix(_PLACE)
        for row in rejects.select(COLUMNS).to_pylist()
        if row["code"] == Code.UNPLAYABLE or (row["code"] is None and str(row["file"]).startswith(_PLACE))
    }
