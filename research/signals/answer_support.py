"""How likely the team's own, wrong answer is as the log grows, and which message made it so.

S_t = mean log p(tokens of the team's answer | question, messages up to t, answer cue), as `value` reads the right one.
Columns: `level` S_t, `rise` S_t - S_{t-1}, `top_rise` 1 where the rise is the log's largest.

Status: ours. Degenerate: a log whose answer is neither stated nor guessed (`novelty.claimed`) is 0 throughout.
Cost: some 40 tokens a message beside `value`, whose prompts it shares; one reading of the cut log without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from apportion.pipeline.engines.base import Score, ScoreRequest
from apportion.pipeline.localizers.base import Floats
from apportion.pipeline.localizers.signals.novelty import claimed
from apportion.pipeline.trajectory.case import Case
from research.signals.scored import ScoredSignal
from research.signals.value import curve, growing
from research.signals.window import View

COLUMNS = ("level", "rise", "top_rise")


def _ask(case: Case, view: View, tokenizer: Any) -> list[ScoreRequest]:
    return growing(case, view, claimed(case), tokenizer)


def _read(case: Case, view: View, scores: Sequence[Score]) -> Floats:
    values = curve(case, scores)
    rise = np.diff(values)
    top = np.zeros(len(rise))
    if len(rise) and rise.max() > 0:
        top[int(rise.argmax())] = 1.0
    return np.column_stack([values[1:], rise, top])


signal = ScoredSignal("answer_support", COLUMNS, _read, _ask)
