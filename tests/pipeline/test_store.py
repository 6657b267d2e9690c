"""The run store: nothing half-written is seen, damage is found and named, one process a run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.core.ids import MAX_NAME
from apportion.pipeline.runs.sql import query
from apportion.pipeline.runs.store import Store
from apportion.schemas import TABLES, SchemaError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def tasks(*names: str) -> pa.Table:
    return TABLES["tasks"].from_rows(
        [{"task_id": name, "source": "toy", "question": f"{name}?", "references": [name]} for name in names]
    )


def credits_of(game: str, credits: dict[str, float], **more: Any) -> pa.Table:
    base = {
        "game_id": game,
        "trajectory_id": "x",
        "task_id": "t",
        "player_kind": "agent",
        "efficient": True,
        "stderr_source": "none",
        "v_full": 0.9,
        "v_empty": 0.1,
    }
    return TABLES["credits"].from_rows(
        [base | more | {"player": name, "credit": credit} for name, credit in credits.items()]
    )


def whole_run(store: Store, run: str = "r") -> None:
    """A run in which every check between tables has something to look at, and finds nothing."""
    trajectory = {"trajectory_id": "x", "task_id": "t", "team": "duo", "origin": "sampled", "outcome": 1.0}
    message = {
        "trajectory_id": "x",
        "task_id": "t",
        "role": "assistant",
        "kind": "message",
        "agent_call_id": 0,
    }
    messages = [
        message | {"message_index": i, "agent": agent, "context": list(range(i)), "text": "hi", "is_outcome": False}
        for i, agent in enumerate(["a", "a", "b"])
    ]
    game = {
        "game_id": "g",
        "trajectory_id": "x",
        "players": ["a", "b"],
        "player_kind": "agent",
        "value_kind": "likelihood",
    }
    values = {"00": 0.1, "01": 0.4, "10": 0.6, "11": 0.9}
    shares = [(0, "a", 0.7), (1, "a", -0.2), (2, "b", 0.3)]
    rows: dict[str, list[dict[str, Any]]] = {
        "trajectories": [trajectory | {"success": True}],
        "messages": messages,
        "games": [game],
        "coalitions": [{"game_id": "g", "trajectory_id": "x", "kept": k, "value": v} for k, v in values.items()],
        "message_credits": [
            {
                "game_id": "g",
                "trajectory_id": "x",
                "message_index": i,
                "agent": agent,
                "credit": c,
                "estimator": "exact",
            }
            for i, agent, c in shares
        ],
    }
    for name, data in rows.items():
        store.write_shard(name, run, "0", TABLES[name].from_rows(data), "f")
    store.write_shard("credits", run, "0", credits_of("g", {"a": 0.5, "b": 0.3}), "f", estimator="exact")


def test_a_shard_comes_back_sorted_with_its_run(store: Store) -> None:
    path = store.write_shard("tasks", "r1", "0", tasks("b", "a"), "f")
    assert path == store.root / "tasks" / "run_id=r1" / "part-0.parquet"
    data = store.read("tasks")
    assert data.column("task_id").to_pylist() == ["a", "b"]
    assert data.column_names[0] == "run_id"
    assert data.select(TABLES["tasks"].schema.names).schema == TABLES["tasks"].schema
    footer = pq.read_metadata(path).metadata
    assert footer[b"apportion.rows"] == b"2"
    assert footer[b"apportion.schema_version"] == b"1"


def test_read_narrows_by_run_shard_and_column(store: Store) -> None:
    store.write_shard("tasks", "r1", "0", tasks("a"), "f")
    store.write_shard("tasks", "r1", "1", tasks("b"), "f")
    store.write_shard("tasks", "r2", "0", tasks("c"), "f")
    assert store.read("tasks", columns=["task_id", "run_id"]).to_pylist() == [
        {"task_id": "a", "run_id": "r1"},
        {"task_id": "b", "run_id": "r1"},
        {"task_id": "c", "run_id": "r2"},
    ]
    assert store.read("tasks", "r1", "1", ["task_id"]).to_pylist() == [{"task_id": "b"}]
    assert store.read("tasks", "r2", columns=["run_id"]).to_pylist() == [{"run_id": "r2"}]
    assert store.read("tasks", "nothing").num_rows == 0
    with pytest.raises(SchemaError, match="column nope is not declared"):
        store.read("tasks", columns=["nope"])


def test_credits_carry_their_estimator(store: Store) -> None:
    store.write_shard("credits", "r", "0", credits_of("g", {"a": 0.8}), "f", estimator="exact")
    store.write_shard("credits", "r", "0", credits_of("g", {"a": 0.7}), "f", estimator="owen")
    rows = store.read("credits", "r", columns=["estimator", "credit"]).to_pylist()
    assert rows == [{"estimator": "exact", "credit": 0.8}, {"estimator": "owen", "credit": 0.7}]
    with pytest.raises(SchemaError, match="estimator"):
        store.write_shard("credits", "r", "0", credits_of("g", {"a": 0.8}), "f")


def test_a_shard_stands_only_when_all_its_tables_do(store: Store) -> None:
    wanted = ["tasks", "credits/estimator=exact"]
    store.write_shard("tasks", "r", "0", tasks("a"), "f1")
    assert store.shard_fingerprint("tasks", "r", "0") == "f1"
    assert store.shard_fingerprint("tasks", "r", "1") is None
    assert not store.shard_stands("r", "0", "f1", wanted)
    path = store.write_shard("credits", "r", "0", credits_of("g", {"a": 0.8}), "f1", estimator="exact")
    assert store.shard_stands("r", "0", "f1", wanted)
    assert not store.shard_stands("r", "0", "f2", wanted)
    damage(path, in_a_page(path))
    assert not store.shard_stands("r", "0", "f1", wanted)


@pytest.mark.parametrize("moment", ["os.fsync", "os.replace"])
def test_a_kill_in_the_middle_of_a_write_leaves_the_old_shard(store: Store, moment: str) -> None:
    store.write_shard("tasks", "r", "0", tasks("old"), "f1")
    script = f"""
        import os, signal
        from pathlib import Path
        from apportion.pipeline.runs.store import Store
        from apportion.schemas import TABLES
        {moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        row = {{"task_id": "new", "source": "s", "question": "q", "references": []}}
        for shard in ("0", "1"):
            data = TABLES["tasks"].from_rows([row])
            Store(Path({str(store.root)!r})).write_shard("tasks", "r", shard, data, "f2")
    """
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=Path(__file__).parents[2])
    assert child.returncode == -signal.SIGKILL
    assert store.read("tasks").column("task_id").to_pylist() == ["old"]
    assert query(store.root, "SELECT task_id FROM tasks").to_pylist() == [{"task_id": "old"}]
    assert not store.shard_stands("r", "0", "f2", ["tasks"])
    (stale,) = store.sweep("r")
    assert stale.name.endswith(".tmp")
    assert [path.name for path in (store.root / "tasks" / "run_id=r").iterdir()] == ["part-0.parquet"]


def test_sweep_spares_a_living_writer(store: Store) -> None:
    path = store.write_shard("tasks", "r", "0", tasks("a"), "f")
    living = path.with_name(f".part-1.parquet.{os.getpid()}.tmp")
    living.touch()
    assert store.sweep("r") == []
    assert living.exists()


def test_a_failed_write_leaves_no_temporary(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        store.write_shard("tasks", "r", "0", tasks("a"), "f")
    assert list(store.root.rglob("*.tmp")) == []


def test_a_damaged_byte_is_never_read_as_data(store: Store) -> None:
    path = store.write_shard("tasks", "r", "0", tasks(*(f"task {i}" for i in range(50))), "f")
    whole, bytes_before = store.read("tasks"), path.read_bytes()
    found = 0
    for place in range(4, len(bytes_before), 23):
        path.write_bytes(bytes_before)
        damage(path, place)
        try:
            same = store.read("tasks").equals(whole)
        except WorkError as error:
            same = str(path) in str(error)
            found += 1
        assert same, place
    assert found > 20


def test_verify_names_the_damaged_file_only(store: Store) -> None:
    whole_run(store)
    assert store.verify("r") == []
    path = store.write_shard("tasks", "r", "0", tasks("a", "b", "c"), "f")
    damage(path, in_a_page(path))
    (problem,) = store.verify("r")
    assert problem.path == path
    assert problem.check == "damaged"


def test_verify_compares_the_footer(store: Store) -> None:
    path = store.write_shard("tasks", "r", "0", tasks("a"), "f")
    data = pq.read_table(path, partitioning=None)
    pq.write_table(data.replace_schema_metadata({"apportion.rows": "2", "apportion.schema_version": "1"}), path)
    (problem,) = store.verify("r")
    assert (problem.check, problem.path) == ("footer", path)


def test_verify_finds_a_key_doubled_over_shards(store: Store) -> None:
    store.write_shard("tasks", "r", "0", tasks("a", "b"), "f")
    store.write_shard("tasks", "r", "1", tasks("b"), "f")
    store.write_shard("tasks", "other", "1", tasks("a"), "f")
    (problem,) = store.verify("r")
    assert problem.check == "unique_key(task_id)"
    assert "task_id=b" in problem.detail


@pytest.mark.parametrize(
    ("removed", "checks"),
    [
        ("trajectories", {"messages_without_trajectories", "games_without_trajectories"}),
        (
            "games",
            {"coalitions_without_games", "credits_without_games", "message_credits_without_games"},
        ),
        ("credits", {"message_credits_conserved"}),
    ],
)
def test_verify_finds_orphans(store: Store, removed: str, checks: set[str]) -> None:
    whole_run(store)
    for path in store.shards(removed, "r"):
        path.unlink()
    assert {problem.check for problem in store.verify("r")} == checks


@pytest.mark.parametrize(
    ("credits", "more", "checks"),
    [
        ({"a": 0.5, "b": 0.3 + 1e-5}, {}, {"credits_conserved", "message_credits_conserved"}),
        ({"a": 0.5, "b": 0.3 + 1e-9}, {}, set()),
        ({"a": 0.5, "b": 0.3, "c": 0.2}, {"efficient": False}, set()),
        ({"a": 0.5, "b": 0.3}, {"v_full": None}, {"credits_conserved"}),
    ],
)
def test_verify_checks_that_credit_is_conserved(
    store: Store, credits: dict[str, float], more: dict[str, Any], checks: set[str]
) -> None:
    whole_run(store)
    store.write_shard("credits", "r", "0", credits_of("g", credits, **more), "f", estimator="exact")
    assert {problem.check for problem in store.verify("r")} == checks


def test_verify_finds_a_coalition_of_the_wrong_length(store: Store) -> None:
    whole_run(store)
    wrong = [{"game_id": "g", "trajectory_id": "x", "kept": "101", "value": 0.1}]
    store.write_shard("coalitions", "r", "1", TABLES["coalitions"].from_rows(wrong), "f")
    assert [problem.check for problem in store.verify("r")] == ["kept_length"]


def test_an_older_shard_lacks_a_column_and_reads_as_null(store: Store) -> None:
    path = store.write_shard("tasks", "r", "0", tasks("old"), "f")
    older = pq.ParquetFile(path).read().drop_columns(["meta"])
    pq.write_table(older, path)
    sql = "SELECT task_id, meta FROM tasks ORDER BY 1"
    assert query(store.root, sql).to_pylist() == [{"task_id": "old", "meta": None}]
    newer = {"task_id": "new", "source": "s", "question": "q", "references": [], "meta": "{}"}
    store.write_shard("tasks", "r", "1", TABLES["tasks"].from_rows([newer]), "f")
    expected = [{"task_id": "new", "meta": "{}"}, {"task_id": "old", "meta": None}]
    assert query(store.root, sql).to_pylist() == expected
    assert store.read("tasks", columns=["task_id", "meta"]).sort_by("task_id").to_pylist() == expected


def test_one_process_holds_a_run(store: Store) -> None:
    script = f"""
        from pathlib import Path
        from apportion.pipeline.runs.store import Store
        with Store(Path({str(store.root)!r})).lock("r"):
            print("held", flush=True)
            input()
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=f"run r: process {child.pid} works on it"), store.lock("r"):
            pass
        with store.lock("another"):
            pass
        child.kill()
    with store.lock("r"):
        pass


@pytest.mark.parametrize("run_id", ["", "1a", "_x", "../up", "a/b", "a b", "a\n"])
def test_a_bad_run_id_is_refused(store: Store, run_id: str) -> None:
    with pytest.raises(UserError, match="run id"):
        store.write_shard("tasks", run_id, "0", tasks("a"), "f")


def test_runs_tells_rows_bytes_and_manifest_and_remove_forgets(store: Store) -> None:
    assert store.runs() == []
    path = store.write_shard("tasks", "r1", "0", tasks("a", "b"), "f")
    store.write_manifest("r2", {"created": "2026-01-02T03:04:05+00:00", "question": "é"})
    one, two = store.runs()
    assert (one.run_id, one.manifest) == ("r1", None)
    assert (one.tables["tasks"].rows, one.tables["tasks"].bytes) == (2, path.stat().st_size)
    assert two.manifest == store.manifest("r2")
    assert two.created
    assert two.created.isoformat() == "2026-01-02T03:04:05+00:00"
    store.remove("r1")
    assert [run.run_id for run in store.runs()] == ["r2"]
    with pytest.raises(UserError, match="run r1: not in"):
        store.verify("r1")


def test_a_run_keeps_the_time_when_it_was_made_when_its_files_are_copied(store: Store, tmp_path: Path) -> None:
    for name in ("older", "newer"):
        store.write_manifest(name, {"kind": "sample"})
        store.write_shard("tasks", name, "0", tasks("a"), "f")
    made = {info.run_id: info.created for info in store.runs()}
    copy = Store(tmp_path / "copy")
    shutil.copytree(store.root, copy.root)
    for days, path in enumerate(sorted(copy.root.rglob("*.parquet"))):  # newer's come first
        os.utime(path, (86_400 * days, 86_400 * days))
    assert {info.run_id: info.created for info in copy.runs()} == made
    assert all(info.stated for info in copy.runs())
    assert made["older"] < made["newer"]  # type: ignore[operator]
    store.write_manifest("older", {"kind": "again"})
    assert store.run("older").created == made["older"]


@pytest.mark.parametrize("created", [None, "yesterday", 7])
def test_a_run_without_a_stated_time_is_as_old_as_its_oldest_file(store: Store, created: object) -> None:
    path = store.write_shard("tasks", "r", "0", tasks("a"), "f")
    manifest = store.root / "_manifests/r.json"
    manifest.parent.mkdir()
    manifest.write_text(json.dumps({"kind": "sample", "created": created}))
    os.utime(path, (0, 0))
    info = store.run("r")
    assert info.created
    assert (info.created.year, info.stated) == (1970, False)


def test_a_run_that_is_held_is_named_without_taking_its_lock(store: Store) -> None:
    store.refuse_held("r")
    assert not store.root.exists()
    with store.lock("r"):
        before = (store.root / "_locks/r.lock").read_text()
        with pytest.raises(UserError, match=f"run r: process {before} works on it"):
            store.refuse_held("r")
        assert (store.root / "_locks/r.lock").read_text() == before
    store.refuse_held("r")


def test_a_run_id_that_no_file_system_could_hold_is_refused(store: Store) -> None:
    store.write_shard("tasks", "a" * MAX_NAME, "0", tasks("a"), "f")
    store.write_manifest("a" * MAX_NAME, {})
    with pytest.raises(UserError, match=f"too long \\(300 characters, at most {MAX_NAME}\\)"):
        store.manifest("a" * 300)


def test_a_shard_without_rows_stands(store: Store) -> None:
    store.write_shard("rejects", "r", "0", TABLES["rejects"].empty(), "f")
    assert store.shard_stands("r", "0", "f", ["rejects"])
    assert store.read("rejects", "r").num_rows == 0
    assert store.verify("r") == []


def damage(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)


def in_a_page(path: Path) -> int:
    """The last byte of the first column's data."""
    column = pq.read_metadata(path).row_group(0).column(0)
    start: int = column.dictionary_page_offset or column.data_page_offset
    return start + column.total_compressed_size - 1
