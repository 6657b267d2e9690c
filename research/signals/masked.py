"""What a message is worth to the right answer: how likely that becomes when only this message is left out.

M_i = mean log p(reference tokens | question, messages up to h(i) with message i replaced by the placeholder, answer
cue) less the same with message i in its place, in nats a token: above 0 where the team was better off without it.
Columns: `harm` M_i, `harm_in_log` M_i less its mean over the log, `most` 1 where it is the log's largest and above 0.

h(i) is the last message within a horizon after i. Whatever follows a masked message must be read anew, which for a
whole log costs messages x tokens / 2. So a log has ROOM tokens for this, in equal parts for its messages: a horizon is
ROOM / messages tokens, which is some next messages of a short log and one or two of a long one.

Status: ours in this form; leaving one out is an old idea, masking by a placeholder is that of the likelihood value
function (counterfactual/likelihood.py). Degenerate: an idle message, one that the window leaves nothing of, and all of
a log whose reference has no tokens are 0; where nothing fits in the horizon, M_i is the loss at i itself.
Cost: at most ROOM tokens a log and some 40 a message; what it is compared with `value` has asked already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from apportion.pipeline.engines.base import Score, ScoreRequest
from apportion.pipeline.localizers.base import Floats
from apportion.pipeline.localizers.signals.base import is_idle
from apportion.pipeline.trajectory.case import Case
from apportion.pipeline.trajectory.render import NEUTRAL, text_ids
from research.signals.scored import ScoredSignal
from research.signals.value import CUE
from research.signals.window import View, target_of

ROOM = 2400
"""Tokens that may be read anew for all masked messages of one log together."""
COLUMNS = ("harm", "harm_in_log", "most")


def horizons(view: View, room: int = ROOM) -> list[int]:
    """For every message the number of messages that are read when it is masked: it and what fits after it."""
    ends = np.cumsum([len(step) for step in view.steps])
    each = room // max(1, len(view.steps))
    return [int(np.searchsorted(ends, end + each, side="right")) for end in ends.tolist()]


def _masked(case: Case, view: View) -> list[int]:
    return [i for i, step in enumerate(case.steps) if view.steps[i] and not is_idle(step)]


def _ask(case: Case, view: View, tokenizer: Any) -> list[ScoreRequest]:
    target = target_of(case.reference or "", tokenizer) if (case.reference or "").strip() else ()
    if not target:
        return []
    names = [f"{step.agent}: {NEUTRAL}\n\n" for step in case.steps]
    cue, *places = text_ids(tokenizer, [CUE, *names])
    stops = horizons(view)
    asked = []
    for i in _masked(case, view):
        whole, before, through = view.until(stops[i]), view.until(i), view.until(i + 1)
        asked.append(ScoreRequest(before + places[i] + whole[len(through) :] + cue, target))
        asked.append(ScoreRequest(whole + cue, target))
    return asked


def _read(case: Case, view: View, scores: Sequence[Score]) -> Floats:
    harm = np.zeros(len(case.steps))
    if scores:
        said = np.array([float(np.mean(score.logprobs)) for score in scores])
        harm[_masked(case, view)] = said[::2] - said[1::2]
    most = np.zeros(len(harm))
    if harm.max(initial=0.0) > 0:
        most[int(harm.argmax())] = 1.0
    return np.column_stack([harm, harm - (harm.mean() if len(harm) else 0.0), most])


signal = ScoredSignal("masked", COLUMNS, _read, _ask, needs_reference=True)
