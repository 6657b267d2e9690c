"""How unexpected a message is to a scorer that has read everything before it.

Columns: `mean` and `top` are the mean of -log p over the message's tokens and over its tenth of most surprising ones
(nats a token), `in_log` is the mean against the mean of all messages.

Status: ours in this use; surprisal as a sign of error is an old idea. Degenerate: a message without tokens in the
window is 0. Cost: one reading of the cut log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from apportion.pipeline.engines.base import Score, ScoreRequest
from apportion.pipeline.localizers.base import Floats
from apportion.pipeline.trajectory.case import Case
from research.signals.scored import ScoredSignal
from research.signals.window import View

COLUMNS = ("mean", "top", "in_log")


def request(view: View, hint: tuple[int, ...] = ()) -> list[ScoreRequest]:
    """All messages as one target after the question; none where the log has no tokens."""
    target = tuple(token for step in view.steps for token in step)
    return [ScoreRequest(view.question + hint, target)] if target else []


def by_step(view: View, scores: Sequence[Score]) -> list[Floats]:
    """-log p of every message's tokens."""
    ends = np.cumsum([len(step) for step in view.steps])
    values = -np.array(scores[0].logprobs if scores else (), dtype=float)
    return np.split(values, ends[:-1]) if len(ends) else []


def means(parts: Sequence[Floats]) -> Floats:
    """Mean of each message, 0 where it has no tokens."""
    return np.array([float(part.mean()) if len(part) else 0.0 for part in parts])


def _ask(case: Case, view: View, tokenizer: Any) -> list[ScoreRequest]:
    return request(view)


def _read(case: Case, view: View, scores: Sequence[Score]) -> Floats:
    parts = by_step(view, scores)
    mean = means(parts)
    top = [float(np.sort(part)[-max(1, len(part) // 10) :].mean()) if len(part) else 0.0 for part in parts]
    return np.column_stack([mean, top, mean - (mean.mean() if len(mean) else 0.0)]).reshape(len(parts), 3)


signal = ScoredSignal("surprise", COLUMNS, _read, _ask)
