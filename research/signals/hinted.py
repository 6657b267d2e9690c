"""How much less surprising a message is to a scorer that knows the right answer: what fits it, and what goes against.

D_t = mean of -log p(token | question, messages before) minus the same with the reference put after the question.
Columns: `gain` D_t, `gain_in_log` D_t less its mean over the log, `worst` the mean of the tenth of the message's tokens
that the hint makes most surprising (nats, at most 0).

Status: ours. Degenerate: a message without tokens in the window is 0. Cost: one more reading of the cut log, beside
the one of `surprise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from apportion.pipeline.engines.base import Score, ScoreRequest
from apportion.pipeline.localizers.base import Floats
from apportion.pipeline.trajectory.case import Case
from apportion.pipeline.trajectory.render import encode
from research.signals.scored import ScoredSignal
from research.signals.surprise import by_step, means, request
from research.signals.window import View, target_of

COLUMNS = ("gain", "gain_in_log", "worst")


def _ask(case: Case, view: View, tokenizer: Any) -> list[ScoreRequest]:
    before, after = encode(tokenizer, ["The correct answer is:", "\n\n"])
    hint = before + target_of(case.reference or "", tokenizer) + after
    return request(view) + request(view, hint)


def _read(case: Case, view: View, scores: Sequence[Score]) -> Floats:
    plain, known = by_step(view, scores[:1]), by_step(view, scores[1:])
    gains = [one - other for one, other in zip(plain, known, strict=True)]
    mean = means(gains)
    worst = [min(0.0, float(np.sort(g)[: max(1, len(g) // 10)].mean())) if len(g) else 0.0 for g in gains]
    return np.column_stack([mean, mean - (mean.mean() if len(mean) else 0.0), worst]).reshape(len(gains), 3)


signal = ScoredSignal("hinted", COLUMNS, _read, _ask, needs_reference=True)
