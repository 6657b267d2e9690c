"""Ids, seeds and rows of a small run of every stage are what they were, wherever and however it is run.

Where a change is meant: `python -m tests.golden --write`, and the commit says which rows change and why.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from record import Record, condensed, differences, number, recorded

HERE = Path(__file__).parent
SHOWN = 40
CONDITIONS = {
    "one": {"PYTHONHASHSEED": "1", "POLARS_MAX_THREADS": "1", "TZ": "UTC"},
    "another folder [2]": {"PYTHONHASHSEED": "77", "POLARS_MAX_THREADS": "3", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
}
"""Where the runs are played: the name of the folder, and what a machine may have otherwise."""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """The golden runs played twice, side by side, in processes of their own."""
    playing = []
    for name, conditions in CONDITIONS.items():
        folder = tmp_path_factory.mktemp("golden") / name
        folder.mkdir()
        command = [sys.executable, str(HERE), "--record", str(folder / "record.json")]
        env = {**os.environ, **conditions, "TMPDIR": str(folder)}
        playing.append((folder, subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)))
    try:
        for _, process in playing:
            _, told = process.communicate()
            assert process.returncode == 0, told
    finally:
        for _, process in playing:
            process.kill()
    return [json.loads((folder / "record.json").read_text(encoding="utf-8")) for folder, _ in playing]


def assert_same(found: list[str]) -> None:
    assert not found, "\n".join([f"{len(found)} differences", *found[:SHOWN]])


def test_ids_seeds_and_rows_are_what_they_were(records: list[Record]):
    assert_same(differences(json.loads((HERE / "golden.json").read_text(encoding="utf-8")), records[0]))


def test_folder_process_threads_and_time_zone_change_nothing(records: list[Record]):
    assert_same(differences(condensed(records[0]), records[1]))


def test_what_is_recorded_is_whole_and_says_something(records: list[Record]):
    tables: dict[str, int] = {}
    for step in records[0].values():
        for name, table in step.items():
            tables[name] = tables.get(name, 0) + len(table["rows"])
    assert [name for name, rows in tables.items() if not rows] == []
    runs = records[0]["runs verify"]["made/runs"]
    assert {json.dumps(row[list(runs["columns"]).index("problems")]) for row in runs["rows"]} == {"[]"}


def test_one_file_alone_knows_where_the_stages_are():
    ours = r"^\s*(?:from|import) (?:pipeline|schemas|flows|apportion)\b"
    knowing = [path.name for path in HERE.glob("*.py") if re.search(ours, path.read_text("utf-8"), re.MULTILINE)]
    assert knowing == ["road.py"]


TABLE = {"columns": {"row_id": "string", "value": "double"}, "rows": [["a", 1.0], ["b", 2.0], ["c", 3.0]]}


def changed(change: Any) -> list[str]:
    """What is told of a table that `change` was done to."""
    other = copy.deepcopy(TABLE)
    change(other)
    return differences(condensed({"step": {"rows": TABLE}}), {"step": {"rows": other}})


def test_a_difference_names_table_column_and_first_differing_row():
    assert changed(lambda table: None) == []
    assert changed(lambda table: table["rows"][1].__setitem__(1, 2.5)) == [
        'step: table rows: column value: first differing row 1: 2.5; row row_id="b"'
    ]
    assert changed(lambda table: table["rows"][0].__setitem__(1, 0.5)) == [
        'step: table rows: column value: first differing row 0: 0.5, it was 1.0; row row_id="a"'
    ]
    assert changed(lambda table: table["rows"].pop(1)) == [
        'step: table rows: 2 rows, there were 3; first differing row 1: row row_id="c"'
    ]
    assert changed(lambda table: table["columns"].update(value="float")) == [
        "step: table rows: column value: type float, it was double"
    ]


def test_steps_tables_and_columns_that_come_or_go_are_named():
    golden = condensed({"old": {"t": TABLE}, "both": {"gone": TABLE, "t": TABLE}})
    narrow = {"columns": {"row_id": "string"}, "rows": [["a"], ["b"], ["c"]]}
    assert differences(golden, {"both": {"t": narrow, "more": TABLE}, "new": {}}) == [
        "both: table t: column value: gone",
        "both: table more: new",
        "both: table gone: gone",
        "new: a new step",
        "old: this step is gone",
    ]


def test_numbers_count_to_nine_digits_and_rounding_errors_not_at_all():
    assert [number(value) for value in (1 / 3, 1 / 3 + 1e-12, -3e-17, 1e300, float("nan"))] == [
        0.333333333, 0.333333333, 0.0, 1e300, "nan",
    ]  # fmt: skip


def test_the_folder_and_times_are_left_out_and_the_order_of_stored_rows_does_not_count():
    table = pa.table({"file": ["/x/y/b", "/x/y/a"], "created": ["now", "then"], "n": [10, 9]})
    made = recorded(table, Path("/x/y"), in_order=False)
    assert made["rows"] == [["<folder>/a", 9], ["<folder>/b", 10]]
    assert list(made["columns"]) == ["file", "n"]
    assert recorded(table, Path("/x/y"), in_order=True)["rows"][0] == ["<folder>/b", 10]
