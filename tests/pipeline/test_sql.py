"""SQL over the store: it answers, it cannot write or look elsewhere, and its errors are one line."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import UserError
from pipeline.sql import connect, query, render
from pipeline.store import Store
from schemas import TABLES


@pytest.fixture
def root(tmp_path: Path) -> Path:
    store = Store(tmp_path / "it's [one] run*")
    rows = [
        {"trajectory_id": f"x{i}", "task_id": "t", "team": "duo", "origin": "sampled"}
        | ({"outcome": float(i), "success": i == 1} if i < 2 else {"error": "time-out"})
        for i in range(3)
    ]
    store.write_shard("trajectories", "r", "0", TABLES["trajectories"].from_rows(rows), "f")
    credit = {"game_id": "g", "trajectory_id": "x1", "task_id": "t", "player_kind": "agent", "role": "w"}
    credits = [
        credit | {"game_id": f"g{i}", "player": "a", "credit": c, "efficient": False, "stderr_source": "none"}
        for i, c in enumerate([0.5, -0.1, None])
    ]
    store.write_shard("credits", "r", "0", TABLES["credits"].from_rows(credits), "f", estimator="exact")
    return store.root


def test_an_empty_store_answers(tmp_path: Path) -> None:
    for name in [*TABLES, "agent_credit", "success"]:
        assert query(tmp_path / "none", f"SELECT * FROM {name}").num_rows == 0
    assert query(tmp_path / "none", "SELECT count(*) AS n FROM messages").to_pylist() == [{"n": 0}]


def test_convenience_views_say_what_their_names_say(root: Path) -> None:
    (row,) = query(root, "SELECT * FROM success").to_pylist()
    # Wilson's interval for 1 of 2, by hand: (0.5 + 0.9604 +- 1.96 sqrt(0.125 + 0.2401)) / 2.9208
    assert row.pop("ci_low") == pytest.approx(0.0945, abs=1e-4)
    assert row.pop("ci_high") == pytest.approx(0.9055, abs=1e-4)
    assert [row] == [
        {
            "run_id": "r",
            "origin": "sampled",
            "team": "duo",
            "n": 2,
            "successes": 1,
            "rate": 0.5,
            "errors": 1,
        }
    ]
    (row,) = query(
        root,
        "SELECT * EXCLUDE (value_kind, masking, answerer, cue, scorer, game_window) FROM agent_credit",
    ).to_pylist()
    assert row.pop("mean_credit") == pytest.approx(0.2)
    assert row == {
        "run_id": "r",
        "estimator": "exact",
        "player": "a",
        "role": "w",
        "share_positive": 0.5,
        "games": 2,
        "mean_loo": None,
        "min_credit": -0.1,
        "max_credit": 0.5,
    }


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1;",
        "WITH a AS (SELECT 1) SELECT * FROM a -- done",
        "DESCRIBE trajectories",
        "SHOW TABLES",
        "SUMMARIZE trajectories",
        "EXPLAIN SELECT * FROM credits",
        "/* why */ EXPLAIN ANALYZE SELECT * FROM credits",
        "FROM trajectories",
        "VALUES (1)",
    ],
)
def test_reading_statements_answer(root: Path, sql: str) -> None:
    assert query(root, sql).num_rows


@pytest.mark.parametrize(
    "sql",
    [
        "COPY trajectories TO '{root}/out.csv'",
        "COPY trajectories TO '{root}/../out.csv'",
        "EXPLAIN ANALYZE COPY trajectories TO '{root}/out.csv'",
        "EXPLAIN /* */ ANALYZE COPY trajectories TO '{root}/out.csv'",
        "WITH a AS (COPY (SELECT 1) TO '{root}/out.csv') SELECT 1",
        "WITH a AS MATERIALIZED (COPY (SELECT 1) TO '{root}/out.csv') SELECT * FROM a",
        "EXPLAIN ANALYZE WITH a AS (COPY (SELECT 1) TO '{root}/out.csv') SELECT 1",
        "SELECT 1; COPY trajectories TO '{root}/out.csv'",
        "ATTACH '{root}/out.db'",
        "CREATE TABLE a AS SELECT 1",
        "DROP VIEW credits",
        "SET threads=1",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "EXPORT DATABASE '{root}/out'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_text('{root}/../secret')",
        "SELECT * FROM read_parquet('https://example.org/a.parquet')",
        "SELECT * FROM sql",
        "SELECT * FROM result",
        "SELECT",
        "",
        "-- nothing",
    ],
)
def test_everything_else_is_refused_in_one_line(root: Path, sql: str) -> None:
    (root.parent / "secret").write_text("s")
    before = sorted(root.parent.rglob("*"))
    with pytest.raises(UserError) as caught:
        query(root, sql.replace("{root}", str(root).replace("'", "''")))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert sorted(root.parent.rglob("*")) == before


def test_the_connection_stays_locked(root: Path) -> None:
    with connect(root) as con:
        for statement in ("SET enable_external_access=true", "SET lock_configuration=false"):
            with pytest.raises(Exception, match=r"Cannot|cannot"):
                con.execute(statement)
        with pytest.raises(Exception, match="Permission"):
            con.execute("SELECT * FROM read_text('/etc/passwd')")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT * FROM trajectorie", 'Did you mean "trajectories"'),
        ("SELECT outcom FROM trajectories", '"outcome"'),
        ("SELECT FROM WHERE", "syntax error"),
    ],
)
def test_errors_suggest_the_nearest_name(root: Path, sql: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        query(root, sql)


def test_a_damaged_footer_is_named(root: Path) -> None:
    (path,) = Store(root).shards("trajectories", "r")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"part-0\.parquet.*apportion runs verify"):
        query(root, "SELECT 1")


def test_sums_of_whole_numbers_are_int64(root: Path) -> None:
    result = query(root, "SELECT sum(x) AS small, sum(x::HUGEINT * 10::HUGEINT ** 20) AS big FROM range(5) t(x)")
    assert result.schema.field("small").type == pa.int64()
    assert result.column("small").to_pylist() == [10]


RESULT = pa.table(
    {
        "name": ["a", "long " * 50, "\x1b[31mred\nline [bold]x[/bold]"],
        "value": [0.123456789, float("nan"), None],
        "n": [1, 20000, None],
        "ids": [[1, 2], [], None],
        "exact": pa.array([Decimal("1.50"), Decimal("2.00"), None]),
    }
)


def test_json_is_valid_and_nan_is_null() -> None:
    rows = json.loads(render(RESULT, "json"))
    assert rows[0] == {"name": "a", "value": 0.123456789, "n": 1, "ids": [1, 2], "exact": 1.5}
    assert rows[1]["value"] is None
    assert rows[2]["name"] == "\x1b[31mred\nline [bold]x[/bold]"
    assert json.loads(render(RESULT.slice(0, 0), "json")) == []


def test_json_keeps_columns_of_the_same_name() -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert json.loads(render(twice, "json")) == [{"a": 1, "a_2": 2}]


def test_csv_reads_back() -> None:
    rows = list(csv.DictReader(io.StringIO(render(RESULT, "csv"))))
    assert rows[0] == {"name": "a", "value": "0.123456789", "n": "1", "ids": "[1, 2]", "exact": "1.50"}
    assert rows[2]["name"] == "\x1b[31mred\nline [bold]x[/bold]"
    assert rows[2]["n"] == ""


def test_a_table_for_people_is_short_aligned_and_harmless() -> None:
    text = render(RESULT, "table")
    lines = text.splitlines()
    assert len(lines) == 2 + RESULT.num_rows
    assert "0.1235" in lines[2]
    assert "…" in lines[3]
    assert max(map(len, lines)) < 120
    assert "\x1b" not in text
    assert "[bold]x[/bold]" in text
    header = lines[0]
    assert lines[3].index("20000") + len("20000") == header.index(" n ") + 2
