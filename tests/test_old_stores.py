"""A store that the version before wrote is read, verified, found up to date and exported.

`tests/stores/version_0_1_0.tar.gz` was written by 0.1.0 (its golden runs): a sampled run with credit, blame, repairs,
an audit and advantages, and an imported one. No shard of it says of which kind it is.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from unittest import mock

import pyarrow.parquet as pq
import pytest

from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.runs.run import Kind, Run
from apportion.pipeline.runs.sql import query
from apportion.pipeline.stages import advantages, audit, export
from apportion.pipeline.stages.sample import Sample

ARCHIVE = Path(__file__).parent / "stores" / "version_0_1_0.tar.gz"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the old store lies, with its inputs beside it."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of(folder: Path, run: str, *sets: str) -> Run:
    """A run of the old store with its stored configuration."""
    stored = Run(load_config(None, (f"run.data={folder / 'data'}",)), run).manifest["config"]
    return Run(load_config(None, sets, stored, folder / "data"), run)


def runs(folder: Path) -> list[str]:
    return [info.run_id for info in Run(Config(), "none").store.runs()]


def test_every_run_is_there_and_whole(folder: Path):
    assert len(runs(folder)) == 2
    assert [problem for run in runs(folder) for problem in of(folder, run).store.verify(run)] == []


def test_shards_without_a_kind_get_it_from_their_names(folder: Path):
    imported, pair = runs(folder)
    assert {source.kind for source in of(folder, imported).sources()} == {Kind.IMPORTED}
    kinds = {source.name: source.kind for source in of(folder, pair).sources()}
    assert {name for name, kind in kinds.items() if kind is Kind.SAMPLED} == {"sampled-00000", "sampled-00001"}
    assert {kind for name, kind in kinds.items() if name.startswith(("replay-", "failures-"))} == {Kind.COUNTERFACTUAL}
    assert {kind for name, kind in kinds.items() if name.startswith("solo-")} == {Kind.SOLO}


def test_nothing_of_it_is_done_again(folder: Path):
    pair = of(folder, "pair", "annotate.on=all", "failures.limit=2")
    assert Sample(pair.config).pending == ()
    assert audit.stands(pair.store, "pair")


def test_its_tables_answer_and_its_data_sets_are_written(folder: Path):
    pair = of(folder, "pair")
    rows = query(pair.store.root, "SELECT * FROM agent_credit WHERE run_id = 'pair'").to_pylist()
    assert {row["player"] for row in rows} == {"boss", "left", "right"}
    with mock.patch("apportion.pipeline.engines.running.engine_for", side_effect=AssertionError("no model is needed")):
        export.run({"pair": pair.config}, folder / "out")
        made = advantages.make(pair.config, "pair")
    stored = pair.read("train_rows").drop_columns("run_id")
    assert sorted(made.rows["row_id"].to_pylist()) == sorted(stored["row_id"].to_pylist())
    assert sum(pq.read_metadata(file).num_rows for file in (folder / "out/grpo").glob("*.parquet")) == stored.num_rows
