"""What each step of a log tells of its being the decisive error."""

from __future__ import annotations

from apportion.pipeline.localizers.signals.content import content, tools
from apportion.pipeline.localizers.signals.novelty import mentions, repetition
from apportion.pipeline.localizers.signals.outline import outline
from apportion.pipeline.localizers.signals.team import ledger, roles, turns

TEXT = (outline, roles, content, tools, repetition, mentions, turns, ledger)
"""Signals of the text alone: no scorer, no reference answer."""
