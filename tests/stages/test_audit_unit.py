"""The audit stage on a store filled by hand: one shard a run, made again only where the tables changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import typer
from scripted import ScriptedEngine
from test_sample_annotate_unit import annotate_all, configured, sample_all
from typer.testing import CliRunner

from apportion import schemas
from apportion.cli import audit as cli_audit
from apportion.pipeline.audit.summary import paragraph
from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.runs.run import Run
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages import audit
from apportion.pipeline.stages.audit import Audit, _limit
from apportion.pipeline.stages.stage import play


def put(store: Store, table: str, shard: str, data: Sequence[dict[str, Any]], **partition: str) -> None:
    store.write_shard(table, "r", shard, schemas.TABLES[table].from_rows(data), f"made {len(data)}", **partition)


def trajectory(name: str, origin: str = "sampled", **more: Any) -> dict[str, Any]:
    return {
        "trajectory_id": name,
        "task_id": "q",
        "team": "t",
        "origin": origin,
        "outcome": 1.0,
        "success": True,
    } | more


def game(name: str, kind: str, run: str, players: list[str], **more: Any) -> dict[str, Any]:
    return {
        "game_id": name, "trajectory_id": run, "players": players, "player_kind": "agent", "value_kind": kind,
    } | more  # fmt: skip


def credit(name: str, run: str, player: str, value: float, **more: Any) -> dict[str, Any]:
    return {
        "game_id": name, "trajectory_id": run, "task_id": "q", "player": player, "player_kind": "agent",
        "efficient": False, "credit": value, "loo": value, "stderr_source": "none",
    } | more  # fmt: skip


def filled(folder: Path, origin: str = "sampled", runs: int = 6) -> Config:
    """Trajectory i has one credited agent, masked credit i / 10; replayed twice an arm, won in min(i, 2) of 2 and 0."""
    config = configured(folder)
    store = Store(config.store_root)
    names = [f"t{i}" for i in range(runs)]
    put(store, "trajectories", f"{origin}-00000", [trajectory(name, origin) for name in names])
    put(store, "games", "masked", [game(f"v{name}", "likelihood", name, ["a"], leak=0.5) for name in names])
    masked = [
        credit(f"v{n}", n, "a", i / 10, efficient=True, residual=0.0, v_full=i / 10, v_empty=0.0)
        for i, n in enumerate(names)
    ]
    put(store, "credits", "masked", masked, estimator="exact")
    values = [
        {"game_id": f"v{name}", "trajectory_id": name, "kept": kept, "value": i / 10 if kept == "1" else 0.0}
        for i, name in enumerate(names)
        for kept in "01"
    ]
    put(store, "coalitions", "masked", values)
    put(store, "games", "replay", [game(f"r{n}", "replay", n, ["a"], k=2, branch=2) for n in names])
    replays = [credit(f"r{n}", n, "a", min(i, 2) / 2, stderr_source="rollout") for i, n in enumerate(names)]
    put(store, "credits", "replay", replays, estimator="loo")
    rollouts = [
        trajectory(
            f"j{name}{arm}{number}", "replay", parent_trajectory_id=name, branch_message_index=2, rollout_index=number,
            removed=["a"] if arm == "0" else [], success=arm == "1" and number < i,
        )
        for i, name in enumerate(names)
        for arm in "01"
        for number in range(2)
    ]  # fmt: skip
    put(store, "trajectories", "replay-x", rollouts)
    return config


def values(config: Config) -> dict[tuple[str, str], float | None]:
    return {(row["metric"], row["scope"]): row["value"] for row in audit.make(config, "r").to_pylist()}


def test_figures_from_the_store(tmp_path: Path) -> None:
    config = filled(tmp_path)
    found = values(config)
    # Ranks of the credits 1 to 6, of the differences (0, .5, 1, 1, 1, 1) 1, 2 and four times 4.5:
    # the sum of products is 12.5, the sums of squares 17.5 and 12.5.
    assert found["spearman", "likelihood, shapley"] == pytest.approx((12.5 / 17.5) ** 0.5)
    assert found["nonzero_share", "likelihood"] == pytest.approx(5 / 6)
    assert found["sign_agreement", "likelihood, loo"] == 1
    assert found["order_share", "likelihood, loo"] is None
    assert found["leak_mean", "likelihood"] == 0.5
    assert Store(config.store_root).verify("r") == []


def test_what_stands_is_not_made_again_and_what_changed_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = filled(tmp_path)
    store = Store(config.store_root)
    assert not audit.stands(store, "r")
    first = audit.make(config, "r")
    (shard,) = store.shards("audit", "r")
    made = shard.stat().st_mtime_ns
    assert audit.make(config, "r") == first
    assert shard.stat().st_mtime_ns == made
    assert audit.stands(store, "r")
    put(store, "credits", "more", [credit("vt0", "t0", "b", 0.9, efficient=True)], estimator="exact")
    assert not audit.stands(store, "r")
    again = audit.make(config, "r")
    assert again != first
    assert len(store.shards("audit", "r")) == 1


def test_a_run_without_credit_is_refused(tmp_path: Path) -> None:
    config = configured(tmp_path)
    put(Store(config.store_root), "trajectories", "sampled-00000", [trajectory("t")])
    for call in (audit.make, lambda config, run: Audit(Run(config, run))):
        with pytest.raises(UserError, match="no credit to audit; make it first: apportion annotate --run r"):
            call(config, "r")


def test_imported_logs_are_audited_without_replays(tmp_path: Path) -> None:
    config = filled(tmp_path, "imported")
    asked = Audit(Run(config, "r"))
    assert (asked.replays, asked.pending) == (None, ())
    assert asked.why_not == "imported logs cannot be replayed: the rest of the audit is made"
    assert values(config)["leak_mean", "likelihood"] == 0.5


def test_as_many_trajectories_as_asked_for_evenly_from_all_shards() -> None:
    yes, no = True, False
    assert _limit([[yes, yes, yes], [yes, yes, yes]], 4) == 2
    assert _limit([[yes, yes, yes], [yes, yes, yes]], 3) == 2
    assert _limit([[no, yes, yes], [yes]], 2) == 2
    assert _limit([[yes], [yes, no]], 50) == 2
    assert _limit([[], []], 1) == 1


def test_command_prints_table_paragraph_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apportion.flows.stage.play", play)  # there is nothing to replay
    monkeypatch.setattr("apportion.flows.common.light", nullcontext)
    config = filled(tmp_path, "imported")
    app = typer.Typer()
    cli_audit.add_to(app)
    app.command()(lambda: None)  # with a single command Typer would take no verb
    call = ["audit", "--run", "r", "--set", f"run.data={config.run.data}", "--set", f"model.path={config.model.path}"]
    summary = paragraph(audit.make(config, "r").to_pylist())
    shown = CliRunner().invoke(app, call)
    assert shown.exit_code == 0, shown.output
    assert " ".join(summary.split()) in " ".join(shown.stdout.split())
    told = json.loads(CliRunner().invoke(app, [*call, "--format", "json"]).stdout)
    assert told["summary"] == summary
    assert {row["check"] for row in told["figures"]} == {"fidelity", "replay", "solver", "games", "credit"}
    dry = CliRunner().invoke(app, [*call, "--dry-run"])
    assert "would replay 0 rollouts in 0 shards" in dry.output
    assert CliRunner().invoke(app, [*call, "--format", "csv"]).stdout.startswith("check,metric,scope,value")


def test_replays_of_a_scripted_run(tmp_path: Path, engine: ScriptedEngine) -> None:
    config = configured(tmp_path, audit={"trajectories": 3, "samples": 2})
    sample_all(config)
    annotate_all(config)
    asked = Audit(Run(config, "r"))
    # Two shards of the team, two trajectories from the head of each, two workers, two arms of two rollouts.
    assert "would replay 32 rollouts in 2 shards, then make the figures" in next(iter(asked.foretell()))
    assert 2 * 2 * 2 * 2 * 2 == 32
    for shard in asked.pending:
        asked.work(shard)
    again = Audit(Run(config, "r"))
    assert again.pending == ()
    assert "would replay 0 rollouts in 0 shards" in next(iter(again.foretell()))
    found = {(row["metric"], row["scope"]): row for row in audit.make(config, "r").to_pylist()}
    assert found["trajectories", "likelihood"]["value"] == 4
    assert found["answering_agents_left_out", "likelihood"]["value"] == 0
    # Whoever plays left out: without `left` no answer is right, without `right` every one.
    assert found["nonzero_share", "likelihood"]["value"] == 0.5
    assert found["commoner_sign", "likelihood"]["value"] == 1
    assert Store(config.store_root).verify("r") == []
