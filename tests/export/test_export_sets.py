"""From tables to data sets: labels, single answers, sides of the split, and nothing from the evaluation set."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from pair_rows import BETTER, QUESTION, STEP, WORSE, frame, messages, repair, repairs, tasks, trajectories

from apportion.pipeline.core.errors import WorkError
from apportion.pipeline.datasets.pairs import pairs
from apportion.pipeline.datasets.sets import data_sets, kto


def localization(**changes: Any) -> dict[str, Any]:
    return {
        "trajectory_id": "f", "localizer": "monte_carlo", "target": "first_wrong", "first_error": STEP,
        "confidence": 0.9,
    } | changes  # fmt: skip


def train_row(**changes: Any) -> dict[str, Any]:
    return {
        "row_id": "w", "method": "grpo", "trajectory_id": "f", "group_id": "g", "agent": "planner",
        "prompt_ids": [1], "completion_ids": [2, 3], "completion_mask": [True, False], "old_logprobs": [-0.5, -1.0],
        "advantages": [1.0, 1.0], "loss_weight": 1.0, "sources": ["f:3"],
    } | changes  # fmt: skip


def tables(**changes: pl.DataFrame) -> dict[str, pl.DataFrame]:
    found = repairs(repair(), repair("ask owners: Who?", alternative_index=1), repair("x", proposal="random"))
    return {
        "tasks": tasks(),
        "trajectories": trajectories(),
        "messages": messages(),
        "repairs": found,
        "preferences": pairs(found, messages(), trajectories(), tasks()),
        "localizations": frame("localizations", [localization()]),
        "steps": frame("steps", [{"trajectory_id": "f", "message_index": 4, "agent": "owners", "prm": "monte_carlo",
                                  "score": -0.25}]),
        "train_rows": frame("train_rows", [train_row()]),
    } | changes  # fmt: skip


def built(validation: float = 0.0, test: float = 0.0, **changes: Any) -> Any:
    knobs = {name: changes.pop(name) for name in ("evaluation", "successes") if name in changes}
    return data_sets(tables(**changes), validation=validation, test=test, **knobs)


def test_every_configuration_has_its_rows() -> None:
    sets = built()
    assert {name: data.num_rows for name, data in sets.tables.items()} == {
        "preference": 2, "kto": 3, "stepwise": 1, "grpo": 1,
    }  # fmt: skip
    assert sets.report["rows"]["kto"] == {"train": 3, "validation": 0, "test": 0}
    assert sets.report["repairs"] | {"paired": 2, "control": 1} == sets.report["repairs"]
    assert sets.report["samples"] == {"4 / 4": 2}
    assert (sets.report["kinds"], sets.report["questions"]["train"]) == ({"first_error": 2}, 1)


def test_rejected_side_of_two_pairs_is_one_answer() -> None:
    single = {row["completion"][0]["content"]: row for row in built().tables["kto"].to_pylist()}
    assert {text: row["label"] for text, row in single.items()} == {
        BETTER: True, "ask owners: Who?": True, WORSE: False,
    }  # fmt: skip
    assert (single[BETTER]["k"], single[BETTER]["successes"], single[BETTER]["completion_ids"]) == (4, 3, [4, 5])
    assert (single[WORSE]["k"], single[WORSE]["successes"], single[WORSE]["completion_ids"]) == (4, 1, [6])


def test_answer_that_is_both_better_and_worse_has_no_label() -> None:
    chain = tables()["preferences"].head(1)
    turns = [[{"role": "assistant", "content": text}] for text in ("a", "b", "c")]
    up, down = (
        chain.with_columns(
            pair_id=pl.lit(name),
            chosen=pl.Series([chosen], dtype=chain.schema["chosen"]),
            rejected=pl.Series([rejected], dtype=chain.schema["rejected"]),
            split=pl.lit("train"),
        )
        for name, chosen, rejected in (("up", turns[0], turns[1]), ("down", turns[1], turns[2]))
    )
    single, both = kto(pl.concat([up, down]))
    assert both == 1
    assert sorted(turns[0]["content"] for turns in single["completion"].to_list()) == ["a", "c"]


def test_single_answers_are_shuffled_the_same_way_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apportion.pipeline.datasets.pairs.MOST_PER_STEP", 12)
    texts = [f"ask homes: Where does number {n} live?" for n in range(12)]
    found = repairs(*(repair(text, alternative_index=n) for n, text in enumerate(texts)))
    made = pairs(found, messages(), trajectories(), tasks())
    labels = built(preferences=made).tables["kto"]["label"].to_pylist()
    assert labels == built(preferences=made.reverse()).tables["kto"]["label"].to_pylist()
    completions = [row[0]["content"] for row in built(preferences=made).tables["kto"]["completion"].to_pylist()]
    assert completions != sorted(completions)
    assert len(completions) == 13


def test_steps_are_true_before_the_error_false_at_it_and_cut_after_it() -> None:
    (row,) = built(localizations=frame("localizations", [localization(first_error=4)])).tables["stepwise"].to_pylist()
    assert row["prompt"] == QUESTION
    assert row["completions"] == ["planner: ask owners: Who owns it?", "owners: search: owner"]
    assert row["labels"] == [True, False]
    assert (row["agents"], row["message_indices"]) == (["planner", "owners"], [3, 4])
    assert row["scores"] == [None, -0.25]
    assert (row["localizer"], row["target"], row["confidence"]) == ("monte_carlo", "first_wrong", 0.9)


def test_tool_results_head_the_message_that_was_written_after_them() -> None:
    (row,) = built().tables["stepwise"].to_pylist()
    assert row["completions"][2] == "result: Tom Sedge owns it.\nowners: Tom Sedge."
    assert row["labels"] == [True, True, True, False]


@pytest.mark.parametrize(
    ("changes", "fate"), [({"first_error": None}, "unlocalized"), ({"first_error": 5}, "not_a_message")]
)
def test_no_labels_without_a_first_error_of_an_agent(changes: dict[str, Any], fate: str) -> None:
    sets = built(localizations=frame("localizations", [localization(**changes)]))
    assert sets.tables["stepwise"].num_rows == 0
    assert sets.report["localizations"] == {fate: 1}


def test_successes_are_labelled_only_on_request() -> None:
    won = {"trajectories": trajectories(success=True)}
    assert built(**won).tables["stepwise"].num_rows == 0
    (row,) = built(**won, successes=True).tables["stepwise"].to_pylist()
    assert row["labels"] == [True] * 4
    assert (row["localizer"], row["target"]) == ("outcome", "success")


def test_evaluation_questions_are_in_no_configuration() -> None:
    sets = built(evaluation=[f"Answer this: {QUESTION}", QUESTION.lower()])
    assert [data.num_rows for data in sets.tables.values()] == [0, 0, 0, 0]
    assert sets.report["dropped"]["contaminated"] == 2
    assert sets.report["contaminated"] == {"stepwise": 1, "grpo": 1}


def test_all_rows_of_a_question_are_on_one_side_in_all_configurations() -> None:
    seen = set()
    for inn in ("Blue", "Red", "Old", "Amber", "Black", "Calm"):
        sets = built(0.3, 0.3, tasks=tasks(QUESTION.replace("Blue", inn)))
        sides = {side for data in sets.tables.values() for side in data["split"].to_pylist()}
        assert len(sides) == 1
        seen |= sides
    assert len(seen) > 1


def test_grpo_rows_stay_as_they_are_but_for_the_split() -> None:
    (row,) = built().tables["grpo"].to_pylist()
    (given,) = tables()["train_rows"].to_dicts()
    assert row == given | {"split": "train"}


def test_training_row_of_an_unknown_rollout_is_an_error() -> None:
    with pytest.raises(WorkError, match="train_rows: trajectory z is not there"):
        built(train_rows=frame("train_rows", [train_row(trajectory_id="z")]))


def test_rows_that_two_runs_share_count_once() -> None:
    twice = {name: pl.concat([data, data]) for name, data in tables().items()}
    sets = data_sets(twice, validation=0, test=0)
    assert {name: data.num_rows for name, data in sets.tables.items()} == {
        "preference": 2, "kto": 3, "stepwise": 1, "grpo": 1,
    }  # fmt: skip
    assert sets.report["dropped"]["duplicate"] == 2


def test_of_two_runs_that_locate_the_same_error_differently_the_same_one_counts_whatever_the_order() -> None:
    both = frame("localizations", [localization(confidence=0.9), localization(confidence=0.4)])
    one, other = (built(localizations=rows).tables["stepwise"] for rows in (both, both.reverse()))
    assert one == other
    assert one["confidence"].to_pylist() == [0.4]


def test_no_tables_at_all() -> None:
    sets = data_sets({}, validation=0.1, test=0)
    assert [data.num_rows for data in sets.tables.values()] == [0, 0, 0, 0]
    assert sets.report["length"]["pairs"] == 0
