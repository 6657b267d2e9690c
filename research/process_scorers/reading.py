"""What every step of a solution costs a language model that reads it once (`layout`): surprisal and doubt.

Of a step's tokens, given all before them: negative log-probabilities and entropies of the prediction, in nats. The
engine gives no entropies, so the model is read through transformers, one solution at a time.

Status: standard (surprisal and entropy of a prediction), ours for the columns.
Degenerate: a step that the window cut off gets zeros. Cost: one prefill a solution, with the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.trajectory.case import Case
from research.process_scorers.layout import layout, window_of

Floats = NDArray[np.float64]
COLUMNS = ("mean", "most", "entropy", "most_entropy", "excess", "mean_in_log", "largest_mean", "largest_most", "start")


class Reader:
    """A causal model of transformers, frozen."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._window = window_of(folder)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False
        ).eval()

    def read(self, cases: Sequence[Case], progress: Callable[[int], None] | None = None) -> dict[str, Floats]:
        """Columns `COLUMNS` of every step, by case: (steps, 9)."""
        result = {}
        for case in cases:
            result[case.case_id] = self._one(case)
            if progress:
                progress(1)
        return result

    def _one(self, case: Case) -> Floats:
        import torch

        ids, steps = layout(self._tokenizer, case, self._window)
        with torch.inference_mode():
            log_p = torch.log_softmax(self._model(torch.tensor([ids])).logits[0, :-1].float(), dim=-1)
            costs = -log_p.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].double().numpy()
            doubts = -(log_p.exp() * log_p).sum(-1).double().numpy()
        rows = []
        for start, end in steps:
            cost, doubt = costs[max(start, 1) - 1 : end - 1], doubts[max(start, 1) - 1 : end - 1]
            if len(cost):
                rows.append([cost.mean(), cost.max(), doubt.mean(), doubt.max(), cost.mean() - doubt.mean(), cost[0]])
            else:
                rows.append([0.0] * 6)
        return _columns(np.array(rows).reshape(len(rows), 6))


def _columns(raw: Floats) -> Floats:
    if not len(raw):
        return np.zeros((0, len(COLUMNS)))
    mean, most, entropy, most_entropy, excess, start = raw.T
    top = [np.arange(len(raw)) == int(np.argmax(one)) for one in (mean, most)]
    return np.column_stack([mean, most, entropy, most_entropy, excess, mean - mean.mean(), *top, start]).astype(float)
