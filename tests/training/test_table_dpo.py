from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tiny_model import Spy, furthest, gradients, logps_of

from apportion.pipeline.core.config import TrainConfig
from apportion.pipeline.training.common import Policy
from apportion.pipeline.training.rows import schedule
from apportion.pipeline.training.shared_prefix import pair_price

SETTINGS = {"warmup": 0.0, "max_grad_norm": 1e9, "dpo_beta": 0.4, "learning_rate": 3e-3, "epochs": 2}


def _sums(model: Any, row: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    chosen, rejected = (logps_of(model, row["prompt_ids"], row[f"{s}_ids"], 1.0).sum() for s in ("chosen", "rejected"))
    return chosen, rejected


def _objective(
    model: Any, start: Any, rows: list[dict[str, Any]], beta: float, *, margin: bool
) -> tuple[torch.Tensor, float]:
    """(loss, weighted share of pairs whose chosen side leads) of one optimizer batch, from the formula alone."""
    total, weights, right = torch.tensor(0.0), 0.0, 0.0
    for row in rows:
        (chosen, rejected), (chosen_0, rejected_0) = _sums(model, row), _sums(start, row)
        lead = beta * ((chosen - chosen_0) - (rejected - rejected_0)).double()
        asked = (row["margin"] or 0.0) if margin else 0.0
        total = total + row["weight"] * (1 + (asked - lead).exp()).log()
        weights += row["weight"]
        right += row["weight"] * float(lead > 0)
    return total / weights, right / weights


@pytest.mark.parametrize("margin", [False, True], ids=["no margin", "margin"])
@pytest.mark.parametrize(("batch", "micro"), [(5, 5), (5, 2), (2, 1)], ids=["whole", "accumulated", "padded step"])
def test_loss_and_gradients_are_those_of_the_formula(
    tiny: Callable[[], Any], pairs: pl.DataFrame, tmp_path: Path, batch: int, micro: int, margin: bool
) -> None:
    from apportion.pipeline.training.dpo import train_dpo

    settings = TrainConfig.model_validate({**SETTINGS, "batch_size": batch, "micro_batch_size": micro})
    subject, spy = tiny(), Spy()
    policy = Policy(subject, None, pair_price(subject))
    train_dpo(policy, pairs, settings, seed=5, folder=str(tmp_path), recorder=spy, margin=margin)

    model, start, rows = tiny(), tiny(), pairs.to_dicts()
    plan = schedule(
        len(rows), lambda r: [*rows[r]["prompt_ids"], *rows[r]["chosen_ids"]], settings, processes=1, seed=5
    )
    assert len(spy.seen) == plan.steps == 2 * -(-5 // batch)
    for step in range(plan.steps):
        model.load_state_dict(spy.weights[step])
        model.zero_grad()
        chosen = [rows[row] for row in plan.step_rows(step)]
        loss, right = _objective(model, start, chosen, settings.dpo_beta, margin=margin)
        loss.backward()
        assert spy.metrics[step, "loss"] == pytest.approx(float(loss.detach()), rel=1e-4)
        assert furthest(spy.seen[step], gradients(model)) < 1e-4
        if step:  # before the first step no side leads by more than rounding
            assert spy.metrics[step, "rewards/accuracies"] == pytest.approx(right)
    last = plan.steps - 1
    lead = spy.metrics[last, "rewards/chosen"] - spy.metrics[last, "rewards/rejected"]
    assert spy.metrics[last, "rewards/margins"] == pytest.approx(lead, rel=1e-4)
