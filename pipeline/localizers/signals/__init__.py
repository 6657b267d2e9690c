"""What each step of a log tells of its being the decisive error: one signal a file, all columns of one table."""

from __future__ import annotations

from apportion.pipeline.localizers.signals import (
    answer_support,
    content,
    hinted,
    ledger,
    masked,
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

SCORED = (value.signal, answer_support.signal, surprise.signal, hinted.signal, masked.signal)
"""Signals that ask a scorer; `value`, `hinted` and `masked` also need the reference. The shipped weights do without."""
