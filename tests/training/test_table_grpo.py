from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tiny_model import TEMPERATURE, Spy, furthest, gradients, logps_of

from apportion.pipeline.core.config import TrainConfig
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.training.common import Policy
from apportion.pipeline.training.rows import schedule
from apportion.pipeline.training.shared_prefix import pair_price

SEED = 4


def _objective(
    model: Any, start: Any, rows: list[dict[str, Any]], micro: list[int], settings: TrainConfig, longest: int
) -> torch.Tensor:
    """The loss of one optimizer batch, from the formulas alone. `micro` numbers the micro batch of each row."""
    sums, counts = [], []
    for row in rows:
        on = torch.tensor(row["completion_mask"])
        arguments = (row["prompt_ids"], row["completion_ids"], TEMPERATURE)
        new = logps_of(model, *arguments)[on]
        sampler = torch.tensor(row["old_logprobs"])[on]
        old = logps_of(start, *arguments)[on].detach() if settings.importance_cap else sampler
        advantages = torch.tensor(row["advantages"])[on] * row["loss_weight"]
        if settings.importance_cap:
            advantages = advantages * (old - sampler).exp().clamp(max=settings.importance_cap)
        difference = (new - old).mean() if settings.ratio == "sequence" else new - old
        ratio = difference.exp()
        clipped = ratio.clamp(1 - settings.epsilon, 1 + (settings.epsilon_high or settings.epsilon))
        loss = -torch.minimum(ratio * advantages, clipped * advantages)
        if settings.beta:
            stored = row["ref_logprobs"]
            reference = torch.tensor(stored)[on] if stored else logps_of(start, *arguments)[on].detach()
            divergence = (reference - new).exp() - (reference - new) - 1
            loss = loss + settings.beta * divergence * (ratio if settings.ratio == "token" else 1.0)
        sums.append(loss.sum())
        counts.append(int(on.sum()))
    if settings.loss == "dapo":
        return sum(sums) / sum(counts)
    if settings.loss == "grpo":
        return sum(s / n for s, n in zip(sums, counts, strict=True)) / len(rows)
    if settings.loss == "dr_grpo":
        return sum(sums) / (len(rows) * longest)
    parts = [
        sum(s for s, m in zip(sums, micro, strict=True) if m == chosen)
        / sum(n for n, m in zip(counts, micro, strict=True) if m == chosen)
        for chosen in set(micro)
    ]
    return sum(parts) / len(parts)


def _check(tiny: Callable[[], Any], frame: pl.DataFrame, settings: TrainConfig, spy: Spy, steps: int) -> None:
    """Loss and gradients of every optimizer step are those of the objective at the weights of that step."""
    model, start, rows = tiny(), tiny(), frame.to_dicts()
    plan = schedule(
        len(rows),
        lambda row: [*rows[row]["prompt_ids"], *rows[row]["completion_ids"]],
        settings,
        processes=1,
        seed=SEED,
    )
    longest = max(len(row["completion_ids"]) for row in rows)
    assert len(spy.seen) == plan.steps == steps
    for step in range(steps):
        batch = [(row, m) for m, micro in enumerate(plan.micro_batches(step)) for row in micro]
        model.load_state_dict(spy.weights[step])
        model.zero_grad()
        loss = _objective(model, start, [rows[row] for row, _ in batch], [m for _, m in batch], settings, longest)
        loss.backward()
        assert abs(float(loss.detach())) > 1e-3
        # Advantages of size 1 nearly cancel at ratios of 1: what is left of them has float32's absolute error.
        assert spy.metrics[step, "loss"] == pytest.approx(float(loss.detach()), rel=1e-4, abs=2e-6)
        assert furthest(spy.seen[step], gradients(model)) < 1e-4


def _by_trl(tiny: Callable[[], Any], tokenizer: Any, frame: pl.DataFrame, settings: TrainConfig, folder: Path) -> Spy:
    from apportion.pipeline.training.grpo import train_grpo

    model, spy = tiny(), Spy()
    train_grpo(
        Policy(model, tokenizer, pair_price(model)), frame, settings, seed=SEED, folder=str(folder), recorder=spy
    )
    return spy


def _settings(**values: Any) -> TrainConfig:
    base = {"learning_rate": 1e-3, "warmup": 0.0, "max_grad_norm": 1e9, "batch_size": 4}
    return TrainConfig.model_validate(base | values)


@pytest.mark.parametrize("micro", [4, 2], ids=["whole", "accumulated"])
@pytest.mark.parametrize("beta", [0.0, 0.3], ids=["no KL", "KL"])
@pytest.mark.parametrize("loss", ["dapo", "grpo", "dr_grpo", "bnpo"])
def test_loss_and_gradients_are_those_of_the_formula(
    tiny: Callable[[], Any], tokenizer: Any, sequences: pl.DataFrame, tmp_path: Path, loss: str, beta: float, micro: int
) -> None:
    """Five rows in batches of four: the second step is one row and padding, accumulated even a micro batch of it."""
    settings = _settings(loss=loss, beta=beta, micro_batch_size=micro, epsilon_high=0.3, importance_cap=1.2)
    _check(tiny, sequences, settings, _by_trl(tiny, tokenizer, sequences, settings, tmp_path), steps=2)


@pytest.mark.parametrize("beta", [0.0, 0.3], ids=["no KL", "KL"])
def test_sequence_ratio(
    tiny: Callable[[], Any], tokenizer: Any, sequences: pl.DataFrame, tmp_path: Path, beta: float
) -> None:
    settings = _settings(loss="grpo", ratio="sequence", beta=beta, micro_batch_size=2, epsilon=0.05, importance_cap=1.2)
    _check(tiny, sequences, settings, _by_trl(tiny, tokenizer, sequences, settings, tmp_path), steps=2)


@pytest.mark.parametrize("cap", [0.0, 2.0], ids=["the sampler's", "the trainer's"])
def test_further_epochs_keep_the_log_probabilities_that_ratios_start_from(
    tiny: Callable[[], Any], tokenizer: Any, sequences: pl.DataFrame, tmp_path: Path, cap: float
) -> None:
    settings = _settings(epochs=2, batch_size=5, micro_batch_size=3, beta=0.1, importance_cap=cap)
    spy = _by_trl(tiny, tokenizer, sequences, settings, tmp_path)
    _check(tiny, sequences, settings, spy, steps=2)
    assert abs(spy.metrics[1, "loss"] - spy.metrics[0, "loss"]) > 1e-3
    assert spy.metrics[0, "kl"] < spy.metrics[1, "kl"]


def test_models_run_plainly_give_the_same(
    tiny: Callable[[], Any], tokenizer: Any, sequences: pl.DataFrame, tmp_path: Path
) -> None:
    from apportion.pipeline.training.grpo import train_grpo

    settings, spy = _settings(micro_batch_size=2), Spy()
    train_grpo(Policy(tiny(), tokenizer, 0), sequences, settings, seed=SEED, folder=str(tmp_path), recorder=spy)
    _check(tiny, sequences, settings, spy, steps=2)


def test_the_first_step_logs_how_far_sampler_and_trainer_are_apart(
    tiny: Callable[[], Any], tokenizer: Any, sequences: pl.DataFrame, tmp_path: Path
) -> None:
    settings = _settings(batch_size=8, micro_batch_size=2)
    spy = _by_trl(tiny, tokenizer, sequences, settings, tmp_path)
    gaps = []
    for row in sequences.head(4).to_dicts():  # the last row has no signal and is not computed
        new = logps_of(tiny(), row["prompt_ids"], row["completion_ids"], TEMPERATURE).tolist()
        gaps += [abs(n - o) for n, o, on in zip(new, row["old_logprobs"], row["completion_mask"], strict=True) if on]
    assert spy.metrics[0, "sampler_gap_mean"] == pytest.approx(sum(gaps) / len(gaps), rel=1e-4)
    assert spy.metrics[0, "sampler_gap_max"] == pytest.approx(max(gaps), rel=1e-4)
    assert 0 < spy.metrics[0, "entropy"] < 4.2


def test_a_sampler_that_rounds_otherwise_clips_nothing_at_the_start(
    tiny: Callable[[], Any], tokenizer: Any, sequences: pl.DataFrame, tmp_path: Path
) -> None:
    """The sampler is up to half a nat off: of ratios from its log-probabilities many start outside the clip range."""
    clipped = {}
    for cap in (0.0, 2.0):
        settings = _settings(batch_size=8, micro_batch_size=8, importance_cap=cap)
        clipped[cap] = _by_trl(tiny, tokenizer, sequences, settings, tmp_path).metrics[0, "clip_ratio/region_mean"]
    assert clipped[0.0] > 0.2
    assert clipped[2.0] == 0


def test_the_same_seed_trains_the_same_and_the_learning_rate_rises_at_once(
    tiny: Callable[[], Any], tokenizer: Any, sequences: pl.DataFrame, tmp_path: Path
) -> None:
    settings = _settings(batch_size=1, micro_batch_size=1, warmup=0.6)
    first, again = (_by_trl(tiny, tokenizer, sequences, settings, tmp_path) for _ in range(2))
    assert [first.metrics[step, "learning_rate"] for step in range(5)] == pytest.approx(
        [1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3, 1e-3]
    )
    assert all(
        torch.equal(a["lm_head.weight"], b["lm_head.weight"]) for a, b in zip(first.seen, again.seen, strict=True)
    )


def test_what_the_loss_cannot_mean_is_refused(tiny: Callable[[], Any], tokenizer: Any, sequences: pl.DataFrame) -> None:
    mixed = sequences.with_columns(temperature=pl.Series([0.7, 1.0, 0.7, 0.7, 0.7]))
    with pytest.raises(UserError, match="2 temperatures"):
        _by_trl(tiny, tokenizer, mixed, _settings(), Path("unused"))
    with pytest.raises(UserError, match="set train.loss to 'grpo'"):
        _by_trl(tiny, tokenizer, sequences, _settings(ratio="sequence"), Path("unused"))
    with pytest.raises(UserError, match="there is no row"):
        _by_trl(tiny, tokenizer, sequences.clear(), _settings(), Path("unused"))
