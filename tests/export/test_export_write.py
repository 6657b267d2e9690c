"""The exported folder: read by datasets, Polars and DuckDB; whole, reproducible, and careful with what stands there."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from pair_rows import frame
from test_export_sets import built

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.places import hold
from apportion.pipeline.datasets.sets import DataSets, data_sets
from apportion.pipeline.datasets.write import ready, write


def export(folder: Path, sets: DataSets | None = None, **more: Any) -> dict[str, Any]:
    made = sets or built()
    return write(
        folder,
        made.tables,
        config={"export": {"validation": 0.0}},
        provenance={"runs": ["r1"], "policies": ["p0"]},
        report=made.report,
        **more,
    )


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


def test_datasets_reads_what_trl_expects(tmp_path: Path) -> None:
    from datasets import load_dataset

    export(tmp_path / "set")
    preference = load_dataset(str(tmp_path / "set"), "preference", split="train")
    row = preference[0]
    for side in ("prompt", "chosen", "rejected"):
        assert {type(turn["content"]) for turn in row[side]} == {str}
    assert [turn["role"] for turn in row["chosen"] + row["rejected"]] == ["assistant", "assistant"]
    assert (row["prompt_ids"], row["rejected_ids"], row["chosen_k"]) == ([1, 2, 3], [6], 4)
    assert isinstance(row["weight"], float)
    single = load_dataset(str(tmp_path / "set"), "kto", split="train")
    assert {type(row["label"]) for row in single} == {bool}
    assert {row["completion"][0]["role"] for row in single} == {"assistant"}
    steps = load_dataset(str(tmp_path / "set"), "stepwise", split="train")[0]
    assert len(steps["completions"]) == len(steps["labels"]) == 4
    assert isinstance(steps["prompt"], str)
    policy = load_dataset(str(tmp_path / "set"), "grpo", split="train")[0]
    assert policy["completion_mask"] == [True, False]
    assert load_dataset(str(tmp_path / "set"), split="train").column_names == preference.column_names


def test_polars_and_duckdb_read_the_same(tmp_path: Path) -> None:
    sets = built()
    export(tmp_path / "set", sets)
    for name, data in sets.tables.items():
        files = tmp_path / "set" / name / "*.parquet"
        expected = pl.DataFrame(data)
        assert pl.read_parquet(files).equals(expected)
        assert duckdb.sql(f"SELECT * FROM read_parquet('{files}')").fetchall() == expected.rows()


def test_splits_are_files(tmp_path: Path) -> None:
    sets = built()
    rows = pl.DataFrame(sets.tables["preference"]).with_columns(split=pl.Series(["train", "test"]))
    manifest = export(tmp_path / "set", DataSets(sets.tables | {"preference": rows.to_arrow()}, sets.report))
    files = {file["path"]: file.get("rows") for file in manifest["files"] if file.get("config") == "preference"}
    assert files == {"preference/train.parquet": 1, "preference/test.parquet": 1}
    assert pl.read_parquet(tmp_path / "set/preference/test.parquet")["split"].to_list() == ["test"]
    assert "- split: test\n    path: preference/test.parquet" in (tmp_path / "set/README.md").read_text()


def test_manifest_holds_digests_and_provenance(tmp_path: Path) -> None:
    manifest = export(tmp_path / "set")
    assert json.loads((tmp_path / "set/manifest.json").read_text()) == manifest
    for file in manifest["files"]:
        data = (tmp_path / "set" / file["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
    assert manifest["provenance"] == {"runs": ["r1"], "policies": ["p0"]}
    assert json.loads((tmp_path / "set/config.json").read_text()) == {"export": {"validation": 0.0}}


def test_same_input_same_bytes(tmp_path: Path) -> None:
    export(tmp_path / "one" / "set")
    export(tmp_path / "two" / "set")
    contents = [
        {path.relative_to(top): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        for top in (tmp_path / "one", tmp_path / "two")
    ]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 7


def test_card_says_what_a_reader_must_know(tmp_path: Path) -> None:
    export(tmp_path / "set")
    card = (tmp_path / "set/README.md").read_text()
    for said in (
        "Pairs by kind: first_error: 2; by agent: planner: 2.",
        "4 / 4: 2.",
        "control: 1",
        "No run of this export has credit that could be audited.",
        "Of 2 pairs of unequal length the chosen side is the longer one in 100 % (95 % interval 34 % to 100 %).",
        "A preference for length is not shown.",
        "contamination is not checked",
        "**Licence**: not stated here",
        "| `preference` | pair | 2 | 0 | 0 |\n| `kto` |",
        "monte_carlo (first_wrong): 1",
        "| `margin` | rise of the success share |",
    ):
        assert said in card


def test_card_holds_the_audit_figures(tmp_path: Path) -> None:
    rows = [
        {"check": "repair", "metric": "gain", "scope": "all", "value": 0.25, "ci_low": 0.125, "ci_high": 0.5, "n": 40},
        {"check": "repair", "metric": "none", "scope": "all", "n": 0},
    ]
    export(tmp_path / "set", audits={"demo": ("The credit can be trusted.", frame("audit", rows).to_arrow())})
    card = (tmp_path / "set/README.md").read_text()
    assert "Run `demo`: The credit can be trusted." in card
    assert "| repair | gain | all | 0.250 | 0.125 to 0.500 | 40 |  |\n| repair | none | all | none |  | 0 |  |" in card
    assert "could be audited" not in card


def test_export_without_pairs_says_so_and_writes_the_rest(tmp_path: Path) -> None:
    from datasets import load_dataset

    sets = built(preferences=frame("preferences", []))
    export(tmp_path / "set", sets)
    card = (tmp_path / "set/README.md").read_text()
    assert "`preference` has no rows: no alternative was confirmed" in card
    assert "Length bias: no pairs to measure." in card
    assert sorted(path.name for path in (tmp_path / "set").iterdir() if path.is_dir()) == ["grpo", "stepwise"]
    assert load_dataset(str(tmp_path / "set"), split="train").num_rows == 1


def test_empty_export_is_still_a_folder_with_its_card(tmp_path: Path) -> None:
    export(tmp_path / "set", data_sets({}, validation=0, test=0))
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["README.md", "config.json", "manifest.json"]
    assert "configs:" not in (tmp_path / "set/README.md").read_text()


def test_an_export_replaces_an_export_and_leaves_nothing_behind(tmp_path: Path) -> None:
    export(tmp_path / "set")
    export(tmp_path / "set", built(preferences=frame("preferences", [])))
    assert not (tmp_path / "set/preference").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    (tmp_path / "empty").mkdir()
    export(tmp_path / "empty")


def test_what_is_not_an_export_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(UserError, match="mine: is there and is no export"):
        export(tmp_path / "mine")
    (tmp_path / "mine/manifest.json").write_text("[]")
    with pytest.raises(UserError, match="is no export"):
        export(tmp_path / "mine")
    (tmp_path / "file").write_text("keep")
    with pytest.raises(UserError, match="file: is there and is no export"):
        export(tmp_path / "file")
    assert (tmp_path / "mine/notes.txt").read_text() == (tmp_path / "file").read_text() == "keep"


@pytest.mark.parametrize("name", ["README.md", "notes/mine.txt"])
def test_what_a_user_added_to_an_export_stays(tmp_path: Path, name: str) -> None:
    export(tmp_path / "set")
    path = tmp_path / "set" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("license: mine")
    with pytest.raises(UserError, match=f"{name} was added or changed after the export"):
        export(tmp_path / "set")
    assert path.read_text() == "license: mine"


def test_failure_leaves_the_old_export(tmp_path: Path) -> None:
    export(tmp_path / "set")
    before = (tmp_path / "set/manifest.json").read_bytes()
    sets = built()
    with pytest.raises(KeyError, match="length"):
        export(tmp_path / "set", DataSets(sets.tables, {k: v for k, v in sets.report.items() if k != "length"}))
    assert (tmp_path / "set/manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("name", ["notes.txt", "preference/mine.parquet"])
def test_what_is_put_into_an_export_while_it_is_rewritten_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from apportion.pipeline.datasets import write as module

    export(tmp_path / "set")
    before = (tmp_path / "set/manifest.json").read_bytes()

    def meanwhile(*given: Any, **more: Any) -> str:
        (tmp_path / "set" / name).write_text("keep")
        return render(*given, **more)

    render = module.render
    monkeypatch.setattr(module, "render", meanwhile)
    with pytest.raises(UserError, match=f"{name} was added or changed after the export"):
        export(tmp_path / "set")
    assert (tmp_path / "set" / name).read_text() == "keep"
    assert (tmp_path / "set/manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_what_appears_in_a_free_place_while_the_export_is_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apportion.pipeline.datasets import write as module

    def meanwhile(*given: Any, **more: Any) -> str:
        (tmp_path / "set").mkdir()
        (tmp_path / "set/notes.txt").write_text("keep")
        return render(*given, **more)

    render = module.render
    monkeypatch.setattr(module, "render", meanwhile)
    with pytest.raises(UserError, match="set: is there and is no export"):
        export(tmp_path / "set")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["set", "set/notes.txt"]


def test_an_export_killed_between_its_two_renames_is_brought_back(tmp_path: Path) -> None:
    """In a process of its own, which is killed as -9 does where the old export has made room for the new one."""
    export(tmp_path / "set")
    before = (tmp_path / "set/manifest.json").read_bytes()
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from apportion.pipeline.datasets import write\n"
        "from test_export_write import export\n"
        "put, calls = write.put, []\n"
        "def dies(made, target):\n"
        "    calls.append(target)\n"
        "    return put(made, target) if len(calls) == 1 else os.kill(os.getpid(), signal.SIGKILL)\n"
        "write.put = dies\n"
        f"export(Path({str(tmp_path / 'set')!r}))\n"
    )
    tests = Path(__file__).parent
    paths = os.pathsep.join([str(tests), str(tests.parent), str(tests.parent.parent)])
    died = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": paths}, check=False)
    assert died.returncode == -signal.SIGKILL
    assert not (tmp_path / "set").exists()
    ready(tmp_path / "set")
    assert (tmp_path / "set/manifest.json").read_bytes() == before
    export(tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_two_exports_into_one_folder_at_a_time_are_one_too_many(tmp_path: Path) -> None:
    with hold(tmp_path / "set"), pytest.raises(UserError, match=f"set: process {os.getpid()} is writing there"):
        export(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []
