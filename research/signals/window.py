"""How a log is cut to what a small scorer can read: every message keeps its head and its tail, by one rule for all.

A log has a budget of tokens. What does not fit is taken from its longest messages: the largest cap under which
all messages together stay within the budget (a water level); a message beyond it keeps the first and the last half
of the cap, with an ellipsis between. Messages of long logs are thus short, but none is missing.

Status: ours. Degenerate: a log with so many messages that even the lowest cap is too much keeps its first and its
last messages whole at that cap, and the ones between read as an ellipsis. Cost: one tokenization of the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apportion.pipeline.engines.plan import Ids
from apportion.pipeline.games.prompts import water_level
from apportion.pipeline.trajectory.case import Case
from apportion.pipeline.trajectory.render import encode, text_ids

BUDGET = 800
"""Tokens of all messages of one log together."""
LEAST = 10
"""The lowest cap of a message."""
_QUESTION = 256
_SHORT = 24
_ELLIPSIS = " ... "


@dataclass(frozen=True)
class View:
    """A case in tokens: the question, each message with its speaker's name, and the share of text that was cut."""

    question: Ids
    steps: tuple[Ids, ...]
    share_cut: float
    tokens: int
    """Tokens before the cut."""

    def until(self, stop: int) -> Ids:
        """The question and the first `stop` messages."""
        return self.question + tuple(token for step in self.steps[:stop] for token in step)


def view_of(case: Case, tokenizer: Any, budget: int = BUDGET) -> View:
    """The case as the scorer reads it."""
    texts = [f"Question: {case.question.strip()}\n\n", *(f"{s.agent}: {s.text.strip()}\n\n" for s in case.steps)]
    question, *steps = text_ids(tokenizer, texts)
    ellipsis = encode(tokenizer, [_ELLIPSIS])[0]
    cap = water_level([len(step) for step in steps], budget, least=LEAST)
    kept = [cut(step, cap, ellipsis) for step in steps]
    most = max(2, budget // LEAST)
    if len(kept) > most:
        kept = [step if i < most // 2 or i >= len(kept) - most // 2 else () for i, step in enumerate(kept)]
    whole = sum(map(len, steps))
    left = sum(min(len(step), len(short)) for step, short in zip(steps, kept, strict=True))
    return View(cut(question, _QUESTION, ellipsis), tuple(kept), 1 - left / max(1, whole), whole)


def target_of(text: str, tokenizer: Any) -> Ids:
    """A short answer as it follows a cue; a long one by its beginning."""
    return text_ids(tokenizer, [f" {text.strip()}"])[0][:_SHORT]


def cut(ids: Ids, cap: int, ellipsis: Ids) -> Ids:
    """Head and tail of a message that is longer than `cap`."""
    if len(ids) <= cap:
        return ids
    room = max(2, cap - len(ellipsis))
    return ids[: (room + 1) // 2] + ellipsis + ids[len(ids) - room // 2 :]
