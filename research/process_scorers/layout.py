"""How a solution is laid out for a model that reads it once: the problem, an empty line, then a step a line.

A solution beyond `window` tokens loses the front of its problem and then of its first steps. Text is only text: a
token of the added vocabulary that it spells out is broken up. Status: ours. Cost: linear.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from apportion.pipeline.trajectory.case import Case
from apportion.pipeline.trajectory.render import text_ids

WINDOW = 2048
"""Tokens that are read of a solution, where the model takes so many."""


def window_of(model: Path) -> int:
    """`WINDOW`, or the positions of a smaller model."""
    from transformers import AutoConfig

    told = AutoConfig.from_pretrained(model, trust_remote_code=False)
    return min(WINDOW, getattr(told, "max_position_embeddings", None) or WINDOW)


def layout(tokenizer: Any, case: Case, window: int) -> tuple[list[int], list[tuple[int, int]]]:
    """The prompt's token ids, the tokenizer's start token first where it has one, and each step's span in them.

    The span [start, end) of a step that was cut off is empty.
    """
    texts = [f"{case.question.strip()}\n\n", *(f"{step.text.strip()}\n" for step in case.steps)]
    pieces = text_ids(tokenizer, texts)
    start = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    ids = [token for piece in pieces for token in piece]
    cut = max(0, len(start) + len(ids) - window)
    first = len(start)
    ends = [max(first, first + end - cut) for end in accumulate(map(len, pieces))]
    return start + ids[cut:], list(pairwise(ends))
