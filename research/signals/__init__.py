"""Signals that ask a scorer what each step of a log is worth: none of them added anything (docs/evaluate.md)."""

from __future__ import annotations

from research.signals import answer_support, hinted, masked, surprise, value

SCORED = (value.signal, answer_support.signal, surprise.signal, hinted.signal, masked.signal)
"""`value`, `hinted` and `masked` also need the reference."""
