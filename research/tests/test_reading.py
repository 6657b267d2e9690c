"""What a step costs a language model: its tokens' surprisal given all that stands before them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from solutions import llama, solution, words_tokenizer

from research.process_scorers.layout import layout
from research.process_scorers.reading import COLUMNS, Reader


def test_a_step_costs_what_the_model_says_of_its_tokens(tmp_path: Path):
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = words_tokenizer()
    llama(tmp_path, tokenizer)
    case = solution("add two", "oops", "so five")
    read = Reader(tmp_path).read([case, solution(name="empty")])
    ids, spans = layout(tokenizer, case, 100)
    with torch.inference_mode():
        log_p = AutoModelForCausalLM.from_pretrained(tmp_path)(torch.tensor([ids])).logits[0].log_softmax(-1).double()
    rows = dict(zip(COLUMNS, read["c"].T, strict=True))
    for place, (start, end) in enumerate(spans):
        costs = [-float(log_p[at - 1, ids[at]]) for at in range(start, end)]
        doubts = [-float((log_p[at - 1].exp() * log_p[at - 1]).sum()) for at in range(start, end)]
        assert rows["mean"][place] == pytest.approx(np.mean(costs), abs=1e-4)
        assert rows["most"][place] == pytest.approx(max(costs), abs=1e-4)
        assert rows["start"][place] == pytest.approx(costs[0], abs=1e-4)
        assert rows["entropy"][place] == pytest.approx(np.mean(doubts), abs=1e-4)
    assert rows["mean_in_log"].sum() == pytest.approx(0, abs=1e-4)
    assert rows["largest_mean"].tolist() == (rows["mean"] == rows["mean"].max()).tolist()
    assert read["empty"].shape == (0, len(COLUMNS))
