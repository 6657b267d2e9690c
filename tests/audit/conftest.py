"""Tables of a small run with replays, made by hand."""

from __future__ import annotations

from itertools import product
from typing import Any

import polars as pl
import pytest

from apportion import schemas
from apportion.pipeline.credit.solve import solve


class Made:
    """Rows of a run: `game` adds a masked game with its exact credits, `replay` the replay of one agent."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("games", "coalitions", "credits", "trajectories", "messages")
        }

    def game(self, trajectory: str, worth: dict[str, float], *, leak: float | None = 0.25, **changes: Any) -> None:
        """An additive game: every agent is worth a fixed amount, so that is its credit by every method."""
        name = f"v{trajectory}{''.join(map(str, changes.values()))}"
        told = {"value_kind": "likelihood", "masking": "placeholder", "answerer": "outcome"} | changes
        self.rows["games"].append(
            {"game_id": name, "trajectory_id": trajectory, "players": list(worth), "player_kind": "agent", "leak": leak}
            | told
        )
        values = [
            {
                "game_id": name, "trajectory_id": trajectory, "kept": "".join(kept), "stderr": None, "truncated": False,
                "value": 0.5 + sum(w for w, k in zip(worth.values(), kept, strict=True) if k == "1"),
            }
            for kept in product("01", repeat=len(worth))
        ]  # fmt: skip
        self.rows["coalitions"] += values
        solved = solve(pl.DataFrame(values, schema_overrides={"stderr": pl.Float64}))
        for agent, row in zip(worth, solved.iter_rows(named=True), strict=True):
            told = {key: value for key, value in row.items() if key != "player_index"}
            self.rows["credits"].append(
                told | {"trajectory_id": trajectory, "task_id": "q", "player": agent, "player_kind": "agent",
                        "role": "planner" if agent == "boss" else "worker"}
            )  # fmt: skip

    def replay(self, trajectory: str, agent: str, branch: int, kept: str, removed: str) -> None:
        """`kept` and `removed`: verdicts of the two arms, 1, 0 or ? for none."""
        name, k = f"r{trajectory}{agent}", len(kept)
        share = {
            arm: verdicts.count("1") / (k - verdicts.count("?"))
            for arm, verdicts in zip("10", (kept, removed), strict=True)
        }
        self.rows["games"].append(
            {"game_id": name, "trajectory_id": trajectory, "players": [agent], "player_kind": "agent",
             "value_kind": "replay", "k": k, "branch": branch}
        )  # fmt: skip
        self.rows["credits"].append(
            {"game_id": name, "trajectory_id": trajectory, "task_id": "q", "player": agent, "player_kind": "agent",
             "efficient": False, "credit": share["1"] - share["0"], "loo": share["1"] - share["0"],
             "stderr_source": "rollout", "estimator": "loo"}
        )  # fmt: skip
        for arm, verdicts in (("kept", kept), ("removed", removed)):
            self.rows["trajectories"] += [
                {"trajectory_id": f"{name}{arm}{number}", "task_id": "q", "team": "t", "origin": "replay",
                 "parent_trajectory_id": trajectory, "branch_message_index": branch, "rollout_index": number,
                 "removed": [] if arm == "kept" else [agent],
                 "outcome": None if verdict == "?" else float(verdict), "success": {"1": True, "0": False}.get(verdict)}
                for number, verdict in enumerate(verdicts)
            ]  # fmt: skip

    def frame(self, name: str) -> pl.DataFrame:
        """A table as a frame, with the partition `estimator` where it has one."""
        declared = schemas.TABLES[name]
        types = {"estimator": pl.String} if name == "credits" else {}
        empty = pl.from_arrow(declared.empty())
        assert isinstance(empty, pl.DataFrame)
        schema = dict(empty.schema) | types
        return pl.DataFrame([{key: row.get(key) for key in schema} for row in self.rows[name]], schema=schema)


@pytest.fixture
def made() -> Made:
    """An empty run."""
    return Made()
