from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.pipeline.core.config import TrainConfig
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.training.rows import refuse_pairs, refuse_sequences, schedule


def test_every_untrainable_row_is_refused_once_under_its_reason(sequences: pl.DataFrame) -> None:
    good = sequences.row(0, named=True)
    length = len(good["completion_ids"])
    bad = {
        "without_prompt": {"prompt_ids": []},
        "of_uneven_lengths": {"old_logprobs": [-1.0]},
        "without_trained_token": {"completion_mask": [False] * length},
        "sampled_greedily_or_at_unknown_temperature": {"temperature": 0.0},
        "without_weight": {"loss_weight": 0.0},
        "with_unusable_log_probabilities": {"old_logprobs": [-1.0] * (length - 1) + [-math.inf]},
        "with_unusable_advantages": {"advantages": [1.0] * (length - 1) + [math.nan]},
    }
    more = [
        {"temperature": None},
        {"old_logprobs": [None] + [-1.0] * (length - 1)},
        {"old_logprobs": [0.5] * length, "advantages": [math.nan] * length},
    ]
    rows = [good, *({**good, **change} for change in (*bad.values(), *more))]
    kept, refused = refuse_sequences(pl.DataFrame(rows, schema=sequences.schema))
    assert kept.to_dicts() == [good]
    expected = dict.fromkeys(bad, 1)
    expected["sampled_greedily_or_at_unknown_temperature"] = 2
    expected["with_unusable_log_probabilities"] = 3
    assert refused.counts == expected
    assert refused.total == 10


def test_what_is_not_trained_may_hold_nonsense(sequences: pl.DataFrame) -> None:
    kept, refused = refuse_sequences(sequences)
    assert any(math.isnan(value) for value in kept["old_logprobs"].explode())
    assert (kept.height, refused.counts, str(refused)) == (5, {}, "none")


def test_untrainable_pairs_are_refused_with_their_count(pairs: pl.DataFrame) -> None:
    changes = [{"prompt_ids": None}, {"rejected_ids": pairs["chosen_ids"][0].to_list()}, {"weight": 0.0}]
    rows = [pairs.row(0, named=True), *({**pairs.row(0, named=True), **change} for change in changes)]
    kept, refused = refuse_pairs(pl.DataFrame(rows, schema=pairs.schema))
    assert kept.height == 1
    assert str(refused) == "1 without token ids, 1 with the same tokens, 1 without weight"


@given(
    rows=st.integers(1, 40),
    batch=st.integers(1, 20),
    micro=st.integers(1, 9),
    processes=st.integers(1, 3),
    epochs=st.integers(1, 3),
)
def test_a_schedule_visits_every_row_once_an_epoch_in_whole_micro_batches(
    rows: int, batch: int, micro: int, processes: int, epochs: int
) -> None:
    settings = TrainConfig(batch_size=batch, micro_batch_size=micro, epochs=epochs)
    plan = schedule(rows, lambda row: [row % 3, row], settings, processes=processes, seed=7)
    steps = [plan.step_rows(step) for step in range(plan.steps)]
    per_epoch = plan.steps // epochs
    for epoch in range(epochs):
        visited = [row for step in steps[epoch * per_epoch : (epoch + 1) * per_epoch] for row in step]
        assert sorted(visited) == list(range(rows))
    assert all(0 < len(step) <= batch for step in steps)
    assert all(step == sorted(step, key=lambda row: (row % 3, row)) for step in steps)
    assert plan.micro_batch <= micro
    assert len(plan.slots) == plan.steps * plan.slots_per_step
    assert all([r for m in plan.micro_batches(s) for r in m] == steps[s] for s in range(plan.steps))
    assert set().union(*(plan.rows_of(process) for process in range(processes))) == set(range(rows))
    assert plan == schedule(rows, lambda row: [row % 3, row], settings, processes=processes, seed=7)


def test_another_seed_is_another_order_and_no_row_is_an_error() -> None:
    settings = TrainConfig(batch_size=4)
    plans = [schedule(50, lambda row: [row], settings, processes=1, seed=seed).slots for seed in (1, 2)]
    assert plans[0] != plans[1]
    with pytest.raises(UserError, match="there is no row"):
        schedule(0, lambda row: [row], settings, processes=1, seed=1)
