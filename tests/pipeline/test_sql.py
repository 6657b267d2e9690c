"""SQL over the store: it answers, it cannot write or look elsewhere, and its errors are one line."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.runs.sql import connect, query, render
from apportion.pipeline.runs.store import Store
from apportion.schemas import TABLES
from apportion.schemas.render import VIEWS


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
        "SELECT run_id, estimator, player, role, success, games, mean_credit, mean_loo, share_positive, min_credit, "
        "max_credit FROM agent_credit",
    ).to_pylist()
    assert row.pop("mean_credit") == pytest.approx(0.2)
    assert row == {
        "run_id": "r",
        "estimator": "exact",
        "player": "a",
        "role": "w",
        "success": True,
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


def test_a_table_in_a_terminal_is_short_aligned_and_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
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


def test_a_table_that_is_piped_holds_every_cell_in_full() -> None:
    long = "word " * 40_000 + "end"
    data = pa.table({"name": ["a", "漢字", "c"], "text": [long, "short", "x" * 61], "n": [1, 20000, None]})
    lines = render(data, "table").splitlines()
    assert long in lines[2]
    assert lines[4] == f" c      {'x' * 61}"
    # Cells of ordinary length stand below their titles; wide characters count as two.
    assert lines[0] == " name   text        n"
    assert lines[3] == " 漢字   short   20000"
    assert "…" not in "".join(lines)


def test_a_short_table_looks_the_same_piped_and_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pa.table({"player": ["a", "bb"], "credit": [0.5, None], "games": [1, 20000]})
    for some in (data, data.slice(0, 0)):
        piped = render(some, "table")
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        assert render(some, "table") == piped
        monkeypatch.undo()


def test_no_column_of_a_view_needs_quotes(tmp_path: Path) -> None:
    """Against every word that DuckDB knows: where one is reserved, the column has a plain twin of the same content."""
    with connect(tmp_path / "none") as con:
        words = con.execute("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'")
        reserved = {word for (word,) in words.fetchall()}
        assert {"references", "check", "window"} <= reserved
        twins = {}
        for name in [*TABLES, *(view.name for view in VIEWS)]:
            assert name not in reserved
            columns = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {name}").fetchall()]
            assert len(columns) == len(set(columns))
            for column in columns:
                if column in reserved:
                    twins[name, column] = TABLES[name].twins[column]
                else:
                    con.execute(f"SELECT {column} FROM {name} WHERE {column} IS NULL GROUP BY {column}")
    assert twins == {
        ("tasks", "references"): "reference_answers",
        ("games", "window"): "game_window",
        ("audit", "check"): "check_name",
    }


def test_a_plain_twin_holds_what_the_quoted_column_holds(tmp_path: Path) -> None:
    store = Store(tmp_path)
    row = {"task_id": "t", "source": "s", "question": "q?", "references": ["a", "b"]}
    store.write_shard("tasks", "r", "0", TABLES["tasks"].from_rows([row]), "f")
    (found,) = query(tmp_path, 'SELECT reference_answers, "references" FROM tasks').to_pylist()
    assert found == {"reference_answers": ["a", "b"], "references": ["a", "b"]}
    assert store.read("tasks", "r").column_names == ["run_id", *TABLES["tasks"].schema.names]


@pytest.mark.parametrize(
    ("sql", "cure"),
    [
        ("SELECT question, references FROM tasks", 'write reference_answers, or "references" in quotes'),
        ("SELECT Check FROM audit", 'write check_name, or "check" in quotes'),
        ("SELECT 'é', window FROM games", 'write game_window, or "window" in quotes'),
        ("SELECT game_id FROM games WHERE window > 3 ORDER BY window", "write game_window"),
        ("EXPLAIN SELECT check FROM audit", "write check_name"),
    ],
)
def test_an_unquoted_reserved_name_is_refused_with_the_cure(root: Path, sql: str, cure: str) -> None:
    with pytest.raises(UserError, match="syntax error") as caught:
        query(root, sql)
    assert cure in str(caught.value)


def test_another_syntax_error_speaks_of_no_reserved_name(root: Path) -> None:
    with pytest.raises(UserError) as caught:
        query(root, "SELECT 'check', \"references\", t.window FROM FROM tasks t -- check")
    assert "in quotes" in str(caught.value)  # t.window alone may stand so; it is named since the statement is wrong
    with pytest.raises(UserError) as caught:
        query(root, "SELECT 'check', \"references\" FROM FROM tasks -- window")
    assert "reserves" not in str(caught.value)


FOLDERS = [
    "experiments/seed=3",
    "success=no",
    "run_id=x/estimator=z/trajectory_id=9",
    'it\'s "so" = ü 漢/credit=1 %41',
    "a\\b/team=none",
    "[x]*?/origin=here",
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_above_the_store_say_nothing_about_its_rows(tmp_path: Path, folder: str) -> None:
    store = Store(tmp_path / folder / "data/runs")
    rows = [
        {"trajectory_id": f"x{i}", "task_id": "t", "team": "duo", "origin": "sampled", "outcome": 1.0, "success": True}
        for i in range(728)
    ]
    for run in ("r1", "r2"):
        store.write_shard("trajectories", run, "0", TABLES["trajectories"].from_rows(rows), "f")
    credit = {"game_id": "g", "trajectory_id": "x1", "task_id": "t", "player": "a", "player_kind": "agent"}
    credits = TABLES["credits"].from_rows([credit | {"credit": 0.5, "efficient": False, "stderr_source": "none"}])
    for estimator in ("exact", "loo"):
        store.write_shard("credits", "r1", "0", credits, "f", estimator=estimator)
    assert query(store.root, "SELECT run_id, team, origin, n, successes FROM success ORDER BY run_id").to_pylist() == [
        {"run_id": run, "team": "duo", "origin": "sampled", "n": 728, "successes": 728} for run in ("r1", "r2")
    ]
    assert query(store.root, "SELECT run_id, estimator, credit FROM credits ORDER BY estimator").to_pylist() == [
        {"run_id": "r1", "estimator": name, "credit": 0.5} for name in ("exact", "loo")
    ]
    assert store.read("credits", "r1", columns=["run_id", "estimator"]).to_pylist() == [
        {"run_id": "r1", "estimator": name} for name in ("exact", "loo")
    ]
    assert store.read("trajectories", "r2")["run_id"].unique().to_pylist() == ["r2"]
    assert [str(one) for one in store.verify("r2")] == []
    assert store.keep_partitions("credits", "r1", "0", {"estimator": ["exact"]})
    assert query(store.root, "SELECT estimator FROM credits").to_pylist() == [{"estimator": "exact"}]


def test_a_run_is_still_read_from_its_own_files_alone(root: Path) -> None:
    Store(root).write_shard("trajectories", "other", "0", TABLES["trajectories"].empty(), "f")
    plan = query(root, "EXPLAIN ANALYZE SELECT * FROM trajectories WHERE run_id = 'r'").to_pylist()[0]
    assert "Scanning Files: 1/2" in str(plan)


def test_agent_credit_averages_neither_outcomes_nor_kinds_of_games(tmp_path: Path) -> None:
    store = Store(tmp_path)
    trajectories = [
        {"trajectory_id": name, "task_id": "t", "team": "duo", "origin": "sampled"}
        | ({} if won is None else {"outcome": float(won), "success": won})
        for name, won in (("won", True), ("lost", False), ("open", None))
    ]
    kinds: list[dict[str, object]] = [
        {"value_kind": "likelihood"},
        {"value_kind": "likelihood", "view": "answerer"},
        {"value_kind": "likelihood", "window": 64},
        {"value_kind": "regenerate", "k": 4},
        {"value_kind": "regenerate", "k": 8},
        {"value_kind": "regenerate", "k": 8, "decoding": "{}"},
        {"value_kind": "regenerate", "k": 8, "seed": 1},
        {"value_kind": "recount", "target": "verdict of exact"},
        {"value_kind": "recount", "target": "verdict of f1"},
    ]
    games, credits = [], []
    for name in ("won", "lost", "open"):
        for number, kind in enumerate(kinds):
            game = {"game_id": f"{name}{number}", "trajectory_id": name}
            games.append(game | {"players": ["a"], "player_kind": "agent", "target": f"answer of {name}"} | kind)
            credits.append(
                game | {"task_id": "t", "player": "a", "player_kind": "agent", "efficient": False,
                        "stderr_source": "none", "credit": number / 10 + (name == "won") / 100}
            )  # fmt: skip
    for table, rows in (("trajectories", trajectories), ("games", games)):
        store.write_shard(table, "r", "0", TABLES[table].from_rows(rows), "f")
    store.write_shard("credits", "r", "0", TABLES["credits"].from_rows(credits), "f", estimator="exact")
    found = query(tmp_path, "SELECT success, games, mean_credit FROM agent_credit").to_pylist()
    assert len(found) == 3 * len(kinds)
    assert {row["games"] for row in found} == {1}
    assert sorted(row["mean_credit"] for row in found if row["success"]) == pytest.approx(
        [number / 10 + 0.01 for number in range(len(kinds))]
    )
