"""How likely the right answer is as the log grows, and what each message does to that.

V_t = mean log p(reference tokens | question, messages up to t, answer cue), read after every message that is not
idle; an idle one leaves V as it was. Columns: `level` V_t, `rise` V_t - V_{t-1}, `falls` the part of it below 0 and
`lost` how far V_t lies below the best V before it; each in nats a token.

Status: source for the difference of values (process rewards; see localizers/value_drop.py), ours for the reader, who
sees a log cut to a window. Degenerate: a reference without tokens makes all columns 0.
Cost: one prompt a message, each a prefix of the next: one reading of the cut log and some 40 tokens a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from apportion.pipeline.engines.base import Score, ScoreRequest
from apportion.pipeline.localizers.base import Floats
from apportion.pipeline.localizers.signals.base import is_idle
from apportion.pipeline.trajectory.case import Case
from apportion.pipeline.trajectory.render import encode
from research.signals.scored import ScoredSignal
from research.signals.window import View, target_of

CUE = "The final answer to the question is:"
COLUMNS = ("level", "rise", "falls", "lost")


def growing(case: Case, view: View, answer: str | None, tokenizer: Any) -> list[ScoreRequest]:
    """Requests of an answer before all messages and after each one that is not idle."""
    target = target_of(answer, tokenizer) if answer and answer.strip() else ()
    if not target:
        return []
    cue = encode(tokenizer, [CUE])[0]
    return [ScoreRequest(view.until(stop) + cue, target) for stop in (0, *_read_after(case))]


def curve(case: Case, scores: Sequence[Score]) -> Floats:
    """V before all messages and after each: shape (steps + 1,)."""
    values = np.zeros(len(case.steps) + 1)
    if scores:
        said = [float(np.mean(score.logprobs)) for score in scores]
        values[:] = said[0]
        for stop, value in zip(_read_after(case), said[1:], strict=True):
            values[stop:] = value
    return values


def changes(values: Floats) -> Floats:
    """`level`, `rise`, `falls` and `lost` of a curve, shape (steps, 4)."""
    rise = np.diff(values)
    best = np.maximum.accumulate(values)[:-1]
    return np.column_stack([values[1:], rise, np.minimum(rise, 0), np.minimum(values[1:] - best, 0)])


def _read_after(case: Case) -> list[int]:
    return [i + 1 for i, step in enumerate(case.steps) if not is_idle(step)]


def _ask(case: Case, view: View, tokenizer: Any) -> list[ScoreRequest]:
    return growing(case, view, case.reference, tokenizer)


def _read(case: Case, view: View, scores: Sequence[Score]) -> Floats:
    return changes(curve(case, scores))


signal = ScoredSignal("value", COLUMNS, _read, _ask, needs_reference=True)
