"""Training rows: tokens, masks and advantages, message by message and stitched."""

from __future__ import annotations

from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.datasets.train_rows import train_rows
from apportion.schemas import TABLES

MESSAGE_COLUMNS = {
    "trajectory_id": pl.String(), "message_index": pl.Int32(), "agent": pl.String(), "agent_call_id": pl.Int32(),
    "prompt_ids": pl.List(pl.Int32), "completion_ids": pl.List(pl.Int32), "completion_mask": pl.List(pl.Boolean),
    "sampling_logprobs": pl.List(pl.Float32), "temperature": pl.Float64(), "top_p": pl.Float64(), "top_k": pl.Int32(),
    "constrained": pl.Boolean(), "trainable": pl.Boolean(), "policy_id": pl.String(), "split": pl.String(),
}  # fmt: skip


def said(index: int, prompt: list[int], completion: list[int], agent: str = "ann", **more: Any) -> dict[str, Any]:
    return {
        "trajectory_id": "t", "message_index": index, "agent": agent, "agent_call_id": 0, "prompt_ids": prompt,
        "completion_ids": completion, "completion_mask": [True] * len(completion),
        "sampling_logprobs": [-float(token) for token in completion], "temperature": 0.7, "top_p": 1.0, "top_k": 0,
        "constrained": False, "trainable": True, "policy_id": "p", "split": "train",
    } | more  # fmt: skip


def table_of(messages: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(messages, schema=MESSAGE_COLUMNS)


def advantages_of(messages: list[dict[str, Any]], values: list[float], method: str = "grpo") -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "trajectory_id": m["trajectory_id"], "message_index": m["message_index"], "method": method,
                "agent": m["agent"], "role": "planner", "group_id": "g", "advantage": value,
            }
            for m, value in zip(messages, values, strict=True)
        ],
        schema={
            "trajectory_id": pl.String, "message_index": pl.Int32, "method": pl.String, "agent": pl.String,
            "role": pl.String, "group_id": pl.String, "advantage": pl.Float64,
        },
    )  # fmt: skip


def rows_of(messages, values, unit="agent", method="grpo", **more):
    return train_rows(advantages_of(messages, values, method), table_of(messages), unit, **more)


TWO = [said(1, [1, 2], [3, 4]), said(3, [1, 2, 3, 4, 9, 8], [5])]


def test_a_message_is_a_row():
    first, second = rows_of(TWO, [0.5, -1.0], "message").table.sort("sources").to_dicts()
    assert (first["prompt_ids"], first["completion_ids"]) == ([1, 2], [3, 4])
    assert (first["completion_mask"], first["advantages"]) == ([True, True], [0.5, 0.5])
    assert (first["old_logprobs"], first["ref_logprobs"]) == ([-3.0, -4.0], None)
    assert first["sources"] == ["t:1"]
    assert (second["prompt_ids"], second["completion_ids"]) == ([1, 2, 3, 4, 9, 8], [5])
    assert second["advantages"] == [-1.0]
    passed = {"method": "grpo", "group_id": "g", "role": "planner", "policy_id": "p", "temperature": 0.7}
    assert first.items() >= (passed | {"split": "train", "loss_weight": 1.0, "trajectory_id": "t"}).items()
    assert first["row_id"] != second["row_id"]


def test_stitching_puts_what_the_next_prompt_adds_between_untrained():
    (row,) = rows_of(TWO, [0.5, -1.0]).table.to_dicts()
    assert (row["prompt_ids"], row["completion_ids"]) == ([1, 2], [3, 4, 9, 8, 5])
    assert row["completion_mask"] == [True, True, False, False, True]
    assert row["old_logprobs"] == [-3, -4, 0, 0, -5]
    assert row["advantages"] == [0.5, 0.5, 0, 0, -1]
    assert row["sources"] == ["t:1", "t:3"]


def test_the_table_is_the_declared_one_and_its_invariants_hold():
    arrow = TABLES["train_rows"].conform(rows_of(TWO, [0.5, -1.0]).table.to_arrow())
    con = duckdb.connect()
    con.register("found", arrow)
    assert TABLES["train_rows"].violations(con, "found") == []


@pytest.mark.parametrize(
    "second",
    [
        said(3, [1, 2, 3, 7, 9], [5]),  # another token where the completion was
        said(3, [1, 2, 3], [5]),  # shorter than what came before
        said(3, [1, 2, 3, 4, 9], [5], agent_call_id=1),
        said(3, [1, 2, 3, 4, 9], [5], policy_id="q"),
        said(3, [1, 2, 3, 4, 9], [5], temperature=1.0),
        said(3, [1, 2, 3, 4, 9], [5], agent="bob"),
        said(3, [1, 2, 3, 4, 9], [5], trajectory_id="u"),
    ],
)
def test_a_new_row_begins_where_the_prefix_or_its_sampler_differs(second):
    found = rows_of([TWO[0], second], [1.0, 2.0]).table
    assert sorted(zip(found["prompt_ids"].to_list(), found["completion_ids"].to_list(), strict=True)) == sorted(
        [([1, 2], [3, 4]), (second["prompt_ids"], [5])]
    )


def test_a_chain_goes_on_after_a_break_and_order_of_rows_does_not_matter():
    messages = [
        said(1, [1], [2]),
        said(2, [1, 2], [3]),
        said(5, [7], [8]),
        said(6, [7, 8, 0], [9]),
        said(3, [1, 2], [3], agent="bob"),
    ]
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = rows_of(messages, values).table
    assert found["sources"].to_list() == [["t:1", "t:2"], ["t:5", "t:6"], ["t:3"]]
    assert found["completion_ids"].to_list() == [[2, 3], [8, 0, 9], [3]]
    assert found.equals(rows_of(messages[::-1], values[::-1]).table)


def test_a_refused_message_in_the_middle_becomes_context():
    messages = [
        said(1, [1], [2]),
        said(2, [1, 2], [3], constrained=True, trainable=False),
        said(3, [1, 2, 3], [4]),
    ]
    found = train_rows(advantages_of([messages[0], messages[2]], [1, 1]), table_of(messages), "agent")
    (row,) = found.table.to_dicts()
    assert (row["completion_ids"], row["completion_mask"]) == ([2, 3, 4], [True, False, True])
    assert found.refused == {"constrained decoding": 1}


def test_refusals_are_counted_by_their_first_reason():
    messages = [
        said(1, [1], [2]),
        said(2, [1], [2], constrained=True, trainable=False),
        said(3, [1], [2], top_p=0.9, trainable=False),
        said(4, [1], [2], top_p=0.9, top_k=5, trainable=False),
        said(5, [1], [2], top_k=20, trainable=False),
        said(6, [1], [2], temperature=0.0, trainable=False),
        said(7, [1], []),
        said(8, [1], [2]) | {"prompt_ids": None},
        said(9, [1], [2]) | {"completion_ids": None, "completion_mask": None, "sampling_logprobs": None},
        said(10, [1], [2], sampling_logprobs=None),
        said(11, [1], [2], trainable=False),
        said(12, [1], [2], completion_mask=[False]),
        said(13, [1], [2], top_k=-1),
    ]
    found = rows_of(messages, [1.0] * len(messages), "message")
    assert found.table["sources"].to_list() == [["t:1"], ["t:13"]]
    assert found.refused == {
        "constrained decoding": 1, "top-p": 2, "top-k": 1, "greedy decoding": 1, "no tokens": 3,
        "no log-probabilities": 1, "marked not trainable": 1, "no trained tokens": 1,
    }  # fmt: skip


def test_other_chat_roles_are_not_counted_as_refused():
    messages = table_of([said(1, [1], [2]), said(2, [1], [2], completion_ids=None)])
    found = train_rows(
        advantages_of([said(1, [1], [2])], [1.0]),
        messages.with_columns(role=pl.Series(["assistant", "tool"])).drop("split"),
        "message",
    )
    assert found.refused == {}
    assert found.table["split"].to_list() == [None]


def test_flat_rows_are_dropped_and_counted_unless_they_are_kept():
    """A stitched row with one message of advantage 0 and one of -1 is not flat."""
    messages = [*TWO, said(4, [6], [7], agent="bob")]
    found = rows_of(messages, [0.0, -1.0, 0.0])
    assert found.table["sources"].to_list() == [["t:1", "t:3"]]
    assert found.flat == 1
    kept = rows_of(messages, [0.0, -1.0, 0.0], keep_flat=True)
    assert (len(kept.table), kept.flat) == (2, 1)


def test_forced_tokens_inside_a_message_carry_no_advantage():
    (row,) = rows_of([said(1, [1], [2, 3], completion_mask=[False, True])], [2.0]).table.to_dicts()
    assert row["advantages"] == [0, 2]
    assert row["old_logprobs"] == [-2, -3]
    (row,) = rows_of([said(1, [1], [2, 3], completion_mask=None)], [2.0]).table.to_dicts()
    assert row["completion_mask"] == [True, True]


@pytest.mark.parametrize("unit", ["agent", "message"])
def test_agents_of_a_trajectory_share_the_weight_under_sharp_and_shapley(unit):
    """Three agents in t (one of them flat, one in two calls), one in u."""
    messages = [
        said(1, [1], [2]), said(2, [1], [2], agent="bob"), said(3, [1], [2], agent="bob", agent_call_id=1),
        said(4, [1], [2], agent="cid"), said(1, [1], [2], trajectory_id="u"),
    ]  # fmt: skip
    for method in ("sharp", "shapley"):
        found = rows_of(messages, [1.0, 1.0, 1.0, 0.0, 1.0], unit, method, weighs_agents=True).table
        assert found.sort("sources")["loss_weight"].to_list() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])
    for method in ("grpo", "success_failure"):
        assert set(rows_of(messages, [1.0] * 5, unit, method).table["loss_weight"]) == {1.0}


def test_methods_are_not_stitched_together():
    both = pl.concat([advantages_of(TWO, [1, 2], "grpo"), advantages_of(TWO, [3, 4], "sharp")])
    found = train_rows(both, table_of(TWO), "agent").table
    assert found["method"].to_list() == ["grpo", "sharp"]
    assert found["advantages"].to_list() == [[1, 1, 0, 0, 2], [3, 3, 0, 0, 4]]
    assert found["row_id"].n_unique() == 2


def test_an_advantage_of_an_unknown_message_is_refused():
    with pytest.raises(UserError, match="1 belong to no message .first: message 3 of trajectory t.; compute them"):
        train_rows(advantages_of(TWO, [1, 2]), table_of(TWO[:1]), "agent")


@pytest.mark.parametrize("unit", ["agent", "message"])
def test_no_message_gives_an_empty_table(unit):
    found = rows_of([], [], unit)
    assert (len(found.table), found.refused, found.flat) == (0, {}, 0)
    assert TABLES["train_rows"].conform(found.table.to_arrow()).num_rows == 0


TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=3)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["ann", "bob"]), st.booleans(), TOKENS, TOKENS, st.sampled_from([-1.0, 0.5, 2.0])),
        min_size=1,
        max_size=8,
    )
)
def test_stitching_conserves_every_trained_token_and_its_context(turns):
    """Whatever the prompts are: the trained tokens, and what each was conditioned on, are those of the messages."""
    seen: dict[str, list[int]] = {}
    messages, values = [], []
    for index, (agent, continues, prompt, completion, value) in enumerate(turns):
        whole = [*seen.get(agent, []), *prompt] if continues else prompt
        messages.append(said(index, whole, completion, agent))
        values.append(value)
        seen[agent] = [*whole, *completion]

    def conditioned(unit: str) -> list[tuple[list[int], int, float, float]]:
        found = []
        for row in rows_of(messages, values, unit).table.iter_rows(named=True):
            tokens = zip(
                row["completion_ids"], row["completion_mask"], row["old_logprobs"], row["advantages"], strict=True
            )
            before = list(row["prompt_ids"])
            for token, trained, logprob, advantage in tokens:
                if trained:
                    found.append((list(before), token, logprob, advantage))
                else:
                    assert (logprob, advantage) == (0, 0)
                before.append(token)
        return sorted(found)

    assert conditioned("agent") == conditioned("message")
    sources = rows_of(messages, values).table["sources"].explode().to_list()
    assert sorted(sources) == sorted(f"t:{index}" for index in range(len(turns)))
