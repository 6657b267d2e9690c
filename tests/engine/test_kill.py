"""kill -9 in the middle of the work; the same command finishes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from roads import ROOT, annotate, sample, small_overrides

from apportion.flows.common import light
from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.runs.store import Store

pytestmark = pytest.mark.engine
PATIENCE = 1800
"""Seconds to wait for the first committed shard, on however slow a machine."""


def test_a_killed_run_is_finished_by_the_same_command(tmp_path: Path):
    small = {
        "tasks.limit": 4,
        "sample.group_size": 1,
        "sample.shard_size": 1,
        "sample.solo": False,
        "annotate.on": "all",
        "failures.localizer": "none",
    }
    overrides = small_overrides(tmp_path, "killed", **small)
    config = load_config(None, overrides)
    store = Store(config.store_root)

    _kill_after_first_shard(config, overrides, "sample", "trajectories")
    done = _stamps(store, "trajectories")
    assert 0 < len(done) < 4
    with light():
        sample(config)
    assert {path: _stamps(store, "trajectories")[path] for path in done} == done
    trajectories = store.read("trajectories", "killed")["trajectory_id"].to_pylist()
    assert len(trajectories) == len(set(trajectories)) == 4

    _kill_after_first_shard(config, overrides, "annotate", "message_credits")  # written last
    done = _stamps(store, "message_credits")
    assert 0 < len(done) < 4
    with light():
        annotate(config, "killed")
    assert {path: _stamps(store, "message_credits")[path] for path in done} == done
    assert len(_stamps(store, "message_credits")) == 4
    assert store.verify("killed") == []


def _kill_after_first_shard(config: Config, overrides: tuple[str, ...], verb: str, table: str) -> None:
    """Start the command, kill -9 it once a shard of `table` stands; nothing that it started may live on.

    It has no C++ compiler and none of what one compiled before: what is installed is all that it needs.
    """
    bare = {**os.environ, "CXX": "/no/compiler", "TORCHINDUCTOR_CACHE_DIR": str(config.data_root / "compiled")}
    command = [sys.executable, "-m", "apportion.cli.app", verb, *(f"--set={override}" for override in overrides)]
    with (config.data_root / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=bare)
        deadline = time.monotonic() + PATIENCE
        while not Store(config.store_root).shards(table, "killed") and process.poll() is None:
            assert time.monotonic() < deadline, (config.data_root / "log.txt").read_text()[-2000:]
            time.sleep(0.02)
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not [child.cmdline() for child in alive]


def _stamps(store: Store, table: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in store.shards(table, "killed")}
