"""What each step of a log tells of its being the decisive error: one signal a file, all columns of one table."""

from __future__ import annotations

from pipeline.localize.signals import (
    answer_support,
    content,
    hinted,
    ledger,
    mentions,
    outline,
    repetition,
    roles,
    surprise,
    tools,
    turns,
    value,
)

TEXT = (
    outline.signal, roles.signal, content.signal, tools.signal, repetition.signal, mentions.signal, turns.signal,
    ledger.signal,
)  # fmt: skip
"""Signals of the text alone: no scorer, no reference answer."""

SCORED = (value.signal, answer_support.signal, surprise.signal, hinted.signal)
"""Signals that ask a scorer; `value` and `hinted` also need the reference answer. The shipped weights do without."""
