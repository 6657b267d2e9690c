"""A decoder with a layer of labels, in vLLM's pooling runner: it says what transformers says, token by token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from roads import embedded_model, small_config

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.engines.base import ScoreRequest
from apportion.pipeline.engines.running import engine_for
from research.process_scorers.token_classifier import TokenClassifier

pytestmark = pytest.mark.engine


def test_every_token_gets_the_logits_of_the_checkpoint_while_another_engine_runs(tmp_path: Path):
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    base = embedded_model()
    tokenizer = AutoTokenizer.from_pretrained(base)
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_pretrained(base, num_labels=2, dtype=torch.float32).eval()
    model.score.bias.data += torch.tensor([0.5, -0.25])
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    start = tuple(tokenizer("Two and three are five.\n" * 20)["input_ids"])
    prompts = [start, (*start, *start[:7]), start[:9]]
    config = small_config(tmp_path, "pooling")
    engine = engine_for(config.model, config.data_root)
    asked = [ScoreRequest(start[:30], start[30:40])]
    before = engine.score(asked)[0].logprobs
    found = TokenClassifier(str(tmp_path), dtype="float32").logits(prompts)
    for prompt, logits in zip(prompts, found, strict=True):
        with torch.inference_mode():
            expected = model(torch.tensor([prompt])).logits[0].numpy()
        assert logits.shape == (len(prompt), 2)
        assert np.abs(logits - expected).max() < 1e-2
    assert engine.score(asked)[0].logprobs == pytest.approx(before, abs=1e-4)


def test_a_folder_that_holds_no_checkpoint_is_told_in_one_line(tmp_path: Path):
    with pytest.raises(UserError, match=r"^model\.path = .*vLLM cannot load it"):
        TokenClassifier(str(tmp_path)).logits([(1, 2)])
