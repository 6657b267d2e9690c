"""A place that a user names: one writer at a time, and what is there already is never lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.places import hold, listed, put, put_beside

ROOT = Path(__file__).parent.parent


def test_a_place_is_held_by_one_process_and_free_after_kill_9(tmp_path: Path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom apportion.pipeline.core.places import hold\n"
        f"with hold(Path({str(tmp_path / 'out')!r})):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"out: process {other.pid} is writing there: wait for it, or choose another"):
        hold(tmp_path / "out").__enter__()
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / ".out.lock").exists()
    with hold(tmp_path / "out"):
        assert (tmp_path / ".out.lock").read_text() == str(os.getpid())
    assert list(tmp_path.iterdir()) == []


def test_a_place_is_free_again_after_an_error_inside(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), hold(tmp_path / "deep" / "out"):
        raise ZeroDivisionError
    with hold(tmp_path / "deep" / "out"):
        pass


@pytest.mark.parametrize("there", ["file", "folder", "link"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_there_is_not_replaced(tmp_path: Path, kind: str, there: str):
    made, target = tmp_path / "made", tmp_path / "target.x"
    if kind == "folder":
        made.mkdir()
        (made / "weights").write_text("new")
    else:
        made.write_text("new")
    if there == "folder":
        target.mkdir()
        (target / "mine").write_text("old")
    elif there == "file":
        target.write_text("old")
    else:
        (tmp_path / "far").write_text("old")
        target.symlink_to(tmp_path / "far")
    assert not put(made, target)
    assert (target / "mine" if there == "folder" else target).read_text() == "old"
    (tmp_path / "target-2.x").write_text("taken")
    kept = put_beside(made, target)
    assert kept == tmp_path / "target-3.x"
    assert (kept / "weights" if kind == "folder" else kept).read_text() == "new"
    assert not made.exists()


def test_an_empty_folder_and_an_empty_file_are_nothing(tmp_path: Path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made/weights").write_text("new")
    (tmp_path / "folder/empty").mkdir(parents=True)
    assert put(tmp_path / "made", tmp_path / "folder")
    assert listed(tmp_path / "folder") == "weights"
    (tmp_path / "made").write_text("new")
    (tmp_path / "file").touch()
    assert put(tmp_path / "made", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "new"
