"""The declared tables: strict on the way in, and able to tell what is wrong with rows."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from apportion.schemas import TABLES, SchemaError
from apportion.schemas.render import VIEWS, table_view

TASK = {"task_id": "t1", "source": "toy", "question": "?", "references": ["a", "b"]}
COALITION = {"game_id": "g1", "trajectory_id": "x", "kept": "10", "value": 0.5}


def test_from_rows_fills_absent_nullable_columns_with_null() -> None:
    data = TABLES["tasks"].from_rows([TASK])
    assert data.schema == TABLES["tasks"].schema
    assert data.to_pylist() == [TASK | {"split": None, "meta": None}]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (TASK | {"qestion": "?"}, "column qestion in row 1 is not declared"),
        ({key: value for key, value in TASK.items() if key != "question"}, "column question has 1 missing"),
        (TASK | {"question": None}, r"column question has 1 missing values \(first in row 1\)"),
        (TASK | {"references": [1]}, "column references must hold VARCHAR"),
        (TASK | {"run_id": "r"}, "column run_id in row 1 is a partition"),
    ],
)
def test_from_rows_refuses_what_it_would_lose(row: dict[str, object], said: str) -> None:
    with pytest.raises(SchemaError, match=f"table tasks: {said}"):
        TABLES["tasks"].from_rows([TASK, row])


def test_conform_casts_orders_and_fills() -> None:
    columns = {name: [value] for name, value in reversed(COALITION.items())}
    data = TABLES["coalitions"].conform(pa.table(columns | {"k": pa.array([3], pa.int64())}))
    assert data.schema == TABLES["coalitions"].schema
    assert data.to_pylist()[0]["k"] == 3
    assert data.to_pylist()[0]["stderr"] is None


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"extra": [1]}, "column extra is not declared"),
        ({"value": [None]}, "column value has 1 nulls"),
        ({"value": ["high"]}, "column value must hold DOUBLE"),
        ({"k": [2**40]}, "column k must hold INTEGER"),
    ],
)
def test_conform_names_table_column_and_cure(columns: dict[str, list[object]], said: str) -> None:
    good = {name: [value] for name, value in COALITION.items()}
    with pytest.raises(SchemaError, match=f"table coalitions: {said}.*: \\w+"):
        TABLES["coalitions"].conform(pa.table(good | columns))


def test_conform_refuses_a_missing_column() -> None:
    with pytest.raises(SchemaError, match="column value is missing"):
        TABLES["coalitions"].conform(pa.table({"game_id": ["g"], "trajectory_id": ["x"], "kept": ["1"]}))


def test_violations_names_the_broken_invariant_and_a_row() -> None:
    rows = [
        COALITION,
        COALITION | {"kept": "1x", "value": 2.0},
        COALITION | {"kept": "01", "k": 2, "successes": 3},
    ]
    found = {item.invariant: item for item in _violations("coalitions", rows)}
    assert set(found) == {"kept_is_binary", "value_in_unit_interval", "successes_within_k"}
    assert found["kept_is_binary"].rows == 1
    assert found["kept_is_binary"].example == "game_id=g1 kept=1x"


def test_violations_finds_a_doubled_key() -> None:
    (found,) = _violations("coalitions", [COALITION, COALITION, COALITION | {"kept": "01"}])
    assert found.invariant == "unique_key(game_id, kept)"
    assert found.example == "game_id=g1 kept=10"


def test_a_trainable_message_must_be_sampled_as_the_trainer_computes() -> None:
    message = {
        "trajectory_id": "x",
        "task_id": "t",
        "message_index": 2,
        "agent": "a",
        "role": "assistant",
        "agent_call_id": 0,
        "kind": "message",
        "context": [0, 1],
        "text": "hi",
        "is_outcome": False,
        "completion_ids": [1, 2],
        "completion_mask": [True, True],
        "sampling_logprobs": [-0.5, 0.0],
        "trainable": True,
    }
    assert _violations("messages", [message]) == []
    broken = [
        message | {"constrained": True},
        message | {"message_index": 3, "top_p": 0.9},
        message | {"message_index": 4, "top_k": 5},
    ]
    assert [(v.invariant, v.rows) for v in _violations("messages", broken)] == [("trainable_is_unfiltered", 3)]
    assert [v.invariant for v in _violations("messages", [message | {"context": [0, 2]}])] == ["context_is_earlier"]
    short = message | {"completion_mask": [True]}
    assert [v.invariant for v in _violations("messages", [short])] == ["one_mask_value_a_token"]


def test_every_predicate_and_view_binds_and_every_column_is_described() -> None:
    with duckdb.connect() as con:
        for name, table in TABLES.items():
            con.execute(table_view(table, []))
            assert table.violations(con, name) == []
            assert set(table.key) | set(table.sort_by) <= set(table.schema.names)
            assert not set(table.partition) & set(table.schema.names)
            for field in table.schema:
                assert field.metadata[b"meaning"], f"{name}.{field.name}"
        for view in VIEWS:
            assert con.execute(view.sql).fetchall() == []


def _violations(table: str, rows: list[dict[str, object]]) -> list[object]:
    with duckdb.connect() as con:
        con.register("rows_in", TABLES[table].from_rows(rows))
        return TABLES[table].violations(con, "rows_in")
