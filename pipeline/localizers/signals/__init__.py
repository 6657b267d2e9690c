"""What each step of a log tells of its being the decisive error: one signal a file, all columns of one table."""

from __future__ import annotations

from apportion.pipeline.localizers.signals import (
    content,
    ledger,
    mentions,
    outline,
    repetition,
    roles,
    tools,
    turns,
)

TEXT = (
    outline.signal, roles.signal, content.signal, tools.signal, repetition.signal, mentions.signal, turns.signal,
    ledger.signal,
)  # fmt: skip
"""Signals of the text alone: no scorer, no reference answer."""
