"""How sure the model is of the solution's own final answer after each step: a rise that comes late, a fall on the way.

V_t = exp(mean log p(answer tokens | problem, steps to t, cue)); there is no reference, so the answer that the solution
itself gives stands in for it. Columns: the value after the step, its change, whether the change is the largest fall.

Status: source for the difference of values (methods, section 4), ours for the target. Degenerate: a solution without an
answer gets zeros. A step that already states the answer has value near 1, right or wrong: the score tells where the
solution commits itself. Cost: one prompt a step, each a prefix of the next.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.engines.base import Engine, ScoreRequest
from apportion.pipeline.trajectory.case import Case
from apportion.pipeline.trajectory.render import text_ids

Floats = NDArray[np.float64]
COLUMNS = ("value", "change", "largest_fall", "largest_rise")
CUE = "\nThe final answer is"
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?")
_LONGEST = 60


def final_answer(case: Case) -> str | None:
    r"""What the solution says it found: the last \boxed{...}, else the last number of its last step; None without."""
    text = case.steps[-1].text if case.steps else ""
    boxed = [found for step in case.steps for found in _BOXED.findall(step.text)]
    if boxed:
        return boxed[-1].strip()[:_LONGEST] or None
    numbers = _NUMBER.findall(text)
    return numbers[-1].rstrip(",.") if numbers else None


def value_drop(
    cases: Sequence[Case], engine: Engine, progress: Callable[[int], None] | None = None
) -> dict[str, Floats]:
    """Columns `COLUMNS` of every step, by case: (steps, 4). Prompts beyond the window lose their front."""
    asked = [_requests(case, engine) for case in cases]
    scores = iter(engine.score([request for some in asked for request in some], progress))
    result = {}
    for case, some in zip(cases, asked, strict=True):
        log_p = [next(scores).logprobs for _ in some]
        result[case.case_id] = _columns([math.exp(sum(one) / len(one)) for one in log_p], len(case.steps))
    return result


def _requests(case: Case, engine: Engine) -> list[ScoreRequest]:
    answer = final_answer(case)
    if answer is None:
        return []
    said, texts = f"{case.question.strip()}\n\n", []
    texts.append(said + CUE)
    for step in case.steps:
        said += f"{step.text.strip()}\n"
        texts.append(said + CUE)
    target = text_ids(engine.tokenizer, [f" {answer}"])[0]
    room = engine.max_model_len - len(target) - 1
    prompts = text_ids(engine.tokenizer, texts)
    return [ScoreRequest(prompt[-room:], target) for prompt in prompts]


def _columns(values: Sequence[float], steps: int) -> Floats:
    result = np.zeros((steps, len(COLUMNS)))
    if len(values) == steps + 1 and steps:
        change = np.diff(values)
        result[:, 0], result[:, 1] = values[1:], change
        if change.min() < 0:
            result[int(np.argmin(change)), 2] = 1.0
        result[int(np.argmax(change)), 3] = 1.0
    return result
