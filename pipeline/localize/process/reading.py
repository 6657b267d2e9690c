"""One forward pass of a language model over each solution: what every step cost it, and what it had in mind there.

The prompt is the problem and a line break; the steps follow, one a line. Of a step's tokens given all before them:
negative log-probabilities and entropies of the prediction (nats), and the hidden states (after the layer asked for) of
its last token and their mean over its tokens. A solution beyond `window` tokens loses the front of its problem and
then of its first steps: tokens that were not read cost nothing and show no state.

Status: standard (surprisal and entropy of a prediction), ours for the layout.
Degenerate: a step without text gets zeros. Cost: one prefill a solution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.localize.case import Case

Floats = NDArray[np.float64]
COLUMNS = ("mean", "most", "entropy", "most_entropy", "excess", "mean_in_log", "largest_mean", "largest_most", "start")
WINDOW = 2048
LAYERS = (0.6, 0.8)
"""Depths whose hidden states are kept, as shares of the layers: the middle ones tell most of truth."""


@dataclass(frozen=True)
class Reading:
    """Of one case: `surprise` (steps, columns of `COLUMNS`) and `states` (steps, features)."""

    surprise: Floats
    states: Floats


class Reader:
    """A causal model of transformers, frozen."""

    def __init__(self, folder: Path, layers: Sequence[float] = LAYERS) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        depth = int(self._model.config.num_hidden_layers)
        self._layers = [max(1, round(share * depth)) for share in layers]

    def read(self, cases: Sequence[Case], progress: Callable[[int], None] | None = None) -> dict[str, Reading]:
        """The readings by case."""
        result = {}
        for case in cases:
            result[case.case_id] = self._one(case)
            if progress:
                progress(1)
        return result

    def _one(self, case: Case) -> Reading:
        import torch

        ids, steps = self._layout(case)
        with torch.inference_mode():
            out = self._model(torch.tensor([ids]), output_hidden_states=True)
            log_p = torch.log_softmax(out.logits[0, :-1].float(), dim=-1)
            cost = -log_p.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
            entropy = -(log_p.exp() * log_p).sum(-1)
            states = torch.cat([out.hidden_states[layer][0] for layer in self._layers], dim=-1).float()
        costs, entropies = cost.double().numpy(), entropy.double().numpy()
        rows, marks = [], []
        for start, end in steps:
            first, last = max(start, 1), end
            mine, doubt = costs[first - 1 : last - 1], entropies[first - 1 : last - 1]
            if not len(mine):
                rows.append(np.zeros(6))
                marks.append(np.zeros(2 * states.shape[1]))
                continue
            rows.append(
                np.array([mine.mean(), mine.max(), doubt.mean(), doubt.max(), mine.mean() - doubt.mean(), mine[0]])
            )
            part = states[first:last]
            marks.append(torch.cat([part[-1], part.mean(0)]).double().numpy())
        raw = np.array(rows)
        return Reading(_columns(raw), np.array(marks))

    def _layout(self, case: Case) -> tuple[list[int], list[tuple[int, int]]]:
        texts = [f"{case.question.strip()}\n\n", *(f"{step.text.strip()}\n" for step in case.steps)]
        pieces = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        ids = [token for piece in pieces for token in piece]
        ends = np.cumsum([len(piece) for piece in pieces])
        start = self._tokenizer.bos_token_id
        cut = max(0, len(ids) + 1 - WINDOW)
        shift = 1 - cut
        spans = [(max(1, int(a) + shift), max(1, int(b) + shift)) for a, b in pairwise(ends)]
        return [start, *ids[cut:]], spans


def _columns(raw: Floats) -> Floats:
    mean, most, entropy, most_entropy, excess, start = raw.T
    top = [np.arange(len(raw)) == int(np.argmax(one)) for one in (mean, most)]
    return np.column_stack([mean, most, entropy, most_entropy, excess, mean - mean.mean(), *top, start]).astype(float)
