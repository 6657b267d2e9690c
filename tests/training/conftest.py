"""A tiny model with random weights, a tokenizer for it, and tables of rows to train it on."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tiny_model import TEMPERATURE, VOCABULARY, logps_of, tokens

from apportion.schemas import TABLES


@pytest.fixture(scope="session", autouse=True)
def _trl_without_vllm() -> None:
    """As in the trainer's process: TRL would import vLLM, which takes seconds."""
    had = sys.modules.get("vllm")
    if had is None:
        sys.modules["vllm"] = None  # type: ignore[assignment]
    importlib.import_module("apportion.pipeline.training.grpo")
    if had is None:
        del sys.modules["vllm"]


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny() -> Callable[[], Any]:
    """Makes the same tiny Llama each time; weights large enough that tokens differ in probability."""

    def make() -> Any:
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.2,
            max_position_embeddings=128,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
        return LlamaForCausalLM(config)

    return make


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Words w0 to w63, with a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w3"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", bos_token="w1", eos_token="w2")
    made.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    return made


@pytest.fixture
def checkpoint(tiny: Callable[[], Any], tokenizer: Any, tmp_path: Path) -> Path:
    """The tiny model on disk."""
    folder = tmp_path / "start"
    tiny().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def sequences(tiny: Callable[[], Any]) -> pl.DataFrame:
    """Five `train_rows`: half share their instructions, lengths differ, some tokens are not trained and hold
    nonsense, the sampler differs from the model by up to 0.5 nat, every second row stores no reference, and the
    last row's advantages are all 0.
    """
    rng, model = random.Random(1), tiny()
    head, rows = tokens(rng, 6), []
    for index, (own, length) in enumerate([(2, 5), (4, 3), (3, 6), (1, 4), (5, 4)]):
        prompt = (head if index < 3 else []) + tokens(rng, own)
        completion = tokens(rng, length)
        mask = [t != 1 or index != 2 for t in range(length)]
        old = (logps_of(model, prompt, completion, TEMPERATURE) - 0.02).tolist()
        noisy = [
            min(o + rng.uniform(-0.5, 0.5), -1e-3) if on else float("nan") for o, on in zip(old, mask, strict=True)
        ]
        rows.append(
            {
                "row_id": f"r{index}",
                "method": "grpo",
                "trajectory_id": f"t{index}",
                "agent": "planner",
                "prompt_ids": prompt,
                "completion_ids": completion,
                "completion_mask": mask,
                "old_logprobs": noisy,
                "ref_logprobs": [o - 0.3 for o in old] if index % 2 else None,
                "advantages": [rng.uniform(-2, 2) if index < 4 else 0.0 for _ in mask],
                "loss_weight": [1.0, 0.5, 2.0, 1.0, 1.0][index],
                "temperature": TEMPERATURE,
                "sources": [f"t{index}:1"],
            }
        )
    frame = pl.from_arrow(TABLES["train_rows"].from_rows(rows))
    assert isinstance(frame, pl.DataFrame)
    return frame


@pytest.fixture
def pairs() -> pl.DataFrame:
    """Five `preferences` of unequal weight, margin and length; two of them share instructions."""
    rng = random.Random(2)
    head, rows = tokens(rng, 6), []
    for index in range(5):
        prompt = (head if index < 2 else []) + tokens(rng, 2 + index)
        rows.append(
            {
                "pair_id": f"p{index}",
                "kind": "contrast",
                "task_id": f"q{index}",
                "agent": "planner",
                "prompt": [],
                "chosen": [{"role": "assistant", "content": "yes"}],
                "rejected": [{"role": "assistant", "content": "no"}],
                "prompt_ids": prompt,
                "chosen_ids": tokens(rng, 2 + index % 3),
                "rejected_ids": tokens(rng, 4 - index % 3),
                "chosen_k": 4,
                "chosen_successes": 4,
                "rejected_k": 4,
                "rejected_successes": 1,
                "margin": [0.75, 0.25, None, 0.5, 1.0][index],
                "weight": [1.0, 0.25, 2.0, 0.5, 1.5][index],
            }
        )
    frame = pl.from_arrow(TABLES["preferences"].from_rows(rows))
    assert isinstance(frame, pl.DataFrame)
    return frame
