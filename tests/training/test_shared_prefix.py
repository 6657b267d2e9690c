from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_model import VOCABULARY, furthest, gradients, logps_of, tokens

from apportion.pipeline.training.shared_prefix import completion_logps, packs, pair_price

Row = tuple[list[int], list[int], list[bool]]


def _rows(seed: int) -> list[Row]:
    """Two agents with instructions of their own, a doubled prompt, a doubled row, and rows that are padding."""
    rng = random.Random(seed)
    first, second = tokens(rng, 9), tokens(rng, 7)
    question = first + tokens(rng, 3)
    rows: list[Row] = [
        (prompt, completion, [rng.random() < 0.7 for _ in completion])
        for prompt, completion in [
            (question, tokens(rng, 4)),
            (question, tokens(rng, 6)),
            (first + tokens(rng, 1), tokens(rng, 5)),
            (second + tokens(rng, 2), tokens(rng, 2)),
            (second, tokens(rng, 3)),
            (tokens(rng, 1), tokens(rng, 1)),
        ]
    ]
    rows.append((question, rows[0][1], [True] * 4))
    rows.append(([], [], []))
    rows.append((question, tokens(rng, 3), [False] * 3))
    return rows


@pytest.mark.parametrize("price", [0, 1, 96, 10**9], ids=["plain", "never joined", "by cost", "always joined"])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_layout_gives_the_numbers_and_gradients_of_one_row_at_a_time(
    tiny: Callable[[], Any], price: int, seed: int
) -> None:
    model, rows = tiny(), _rows(seed)
    factors = [[random.Random(f"{i},{t}").uniform(-1, 1) for t in range(len(c))] for i, (_, c, _) in enumerate(rows)]
    expected = torch.zeros(len(rows), 6)
    for i, (prompt, completion, wanted) in enumerate(rows):
        if any(wanted):
            expected[i, : len(completion)] = logps_of(model, prompt, completion, 0.7) * torch.tensor(wanted)
    weights = torch.zeros(len(rows), 6)
    for i, row in enumerate(factors):
        weights[i, : len(row)] = torch.tensor(row)
    (expected * weights).sum().backward()
    by_hand = gradients(model)
    model.zero_grad()

    prompts, completions, wanted_rows = zip(*rows, strict=True)
    scores = completion_logps(model, prompts, completions, wanted_rows, temperature=0.7, price=price)
    (scores.logps * weights).sum().backward()

    torch.testing.assert_close(scores.logps, expected, rtol=1e-5, atol=1e-5)
    assert furthest(gradients(model), by_hand) < 1e-5


def test_entropy_is_that_of_the_distribution_a_token_was_drawn_from(tiny: Callable[[], Any]) -> None:
    model = tiny()
    scores = completion_logps(model, [[5, 6]], [[7, 8]], [[True, True]], temperature=2.0, price=96)
    chances = (model(torch.tensor([[5, 6, 7]])).logits[0, 1:] / 2.0).softmax(-1)
    torch.testing.assert_close(scores.entropies[0], -(chances * chances.log()).sum(-1))
    assert 0 < scores.entropies.max() < torch.tensor(float(VOCABULARY)).log()


def test_a_batch_of_padding_leaves_gradients_of_zero(tiny: Callable[[], Any]) -> None:
    model = tiny()
    scores = completion_logps(model, [[], [5]], [[], [6, 7]], [[], [False, False]], price=96)
    scores.logps.sum().backward()
    assert scores.logps.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert model.lm_head.weight.grad.abs().max() == 0


def test_shared_tokens_are_computed_once_where_that_is_cheaper() -> None:
    head = list(range(100))
    rows = {i: [*head, 200 + i, 300] for i in range(4)}
    assert [len(pack.tokens) for pack in packs(rows, price=1000)] == [100 + 4 * 2]
    # Two rows: one token saved for 2 * 101**2 pairs of attention is not worth it at a price of 100.
    apart = {0: [1, *range(10, 110)], 1: [1, *range(210, 310)]}
    assert [len(pack.tokens) for pack in packs(apart, price=100)] == [101, 101]
    assert [len(pack.tokens) for pack in packs(apart, price=10**6)] == [201]


def test_models_that_do_not_attend_everywhere_are_run_plainly(tiny: Callable[[], Any]) -> None:
    from transformers import MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    common = {**sizes, "num_key_value_heads": 2, "vocab_size": 16}
    assert pair_price(tiny()) == 3 * 32
    assert pair_price(Qwen2ForCausalLM(Qwen2Config(**common))) == 3 * 8
    assert pair_price(MistralForCausalLM(MistralConfig(**common, sliding_window=4))) == 0
    half = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    assert pair_price(Qwen2ForCausalLM(Qwen2Config(**common, **half))) == 0
