"""The loop with a real model: killed at any point, the same command goes on, and every row knows its policy."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from roads import ROOT, small_overrides

from apportion.pipeline.engines.checkpoints import provenance
from apportion.pipeline.runs.store import Store

pytestmark = pytest.mark.engine
SAID = {"iteration", "sampling", "coalitions", "prefixes", "training", "last"}
"""First words of our bars and lines; no library has anything to say."""


def command(folder: Path) -> list[str]:
    sets = small_overrides(
        folder, "lap", sample__group_size=4, sample__solo=False, loop__iterations=2, loop__tasks=4,
        train__learning_rate=1e-5, export__validation=0.0, tasks__limit=8, sample__temperature=1.0, train__limit=12,
    )  # fmt: skip
    return [sys.executable, "-m", "apportion.cli.app", "loop", *(part for one in sets for part in ("--set", one))]


def test_two_killed_attempts_and_a_third_make_a_whole_loop(tmp_path: Path):
    rng = random.Random(5)
    asked = command(tmp_path)
    for _ in range(2):
        process = subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(25, 60))
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "COLUMNS": "160"})
    assert done.returncode == 0, done.stderr[-2000:]
    assert {line.split()[0] for line in done.stderr.splitlines()} <= SAID, done.stderr
    assert {line.split()[0].strip("─") for line in done.stdout.splitlines()} <= {"run_id", "lap-0", "lap-1", ""}
    store = Store(tmp_path / "runs")
    made = [path for name in ("lap-0", "lap-1") if (path := tmp_path / "checkpoints" / name).exists()]
    assert made, "no group of the whole loop holds both a success and a failure"
    assert [provenance(path)["version"] for path in made] == list(range(1, len(made) + 1))
    wrote = {}
    for name in ("lap-0", "lap-1"):
        assert store.verify(name) == []
        rows = store.read("trajectories", name)
        assert rows.num_rows == 16
        (wrote[name],) = {p for p in store.read("messages", name)["policy_id"].to_pylist() if p}
    learned = made[0].name == "lap-0"
    assert (wrote["lap-0"] != wrote["lap-1"]) == learned
    assert provenance(made[0])["parent"] == wrote[made[0].name]
    versions = {r["policy_id"]: r["version"] for r in store.read("policies", "lap-1").to_pylist()}
    assert versions[wrote["lap-1"]] == int(learned)
