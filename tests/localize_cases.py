"""Small cases for the tests of localizers."""

from __future__ import annotations

from apportion.pipeline.trajectory.case import Case, Label, Step


def make(speakers, label=None, *, question="q?", source="s", sound=False, start=0, texts=None, name=None):
    """A case in which each letter of `speakers` speaks once; `u` is a user. `label` is (step, agent) or a step."""
    steps = tuple(
        Step(start + i, who, "user" if who == "u" else "assistant", None, texts[i] if texts else f"text {i}")
        for i, who in enumerate(speakers)
    )
    if isinstance(label, int):
        label = (label, next((step.agent for step in steps if step.index == label), "?"))
    return Case(
        name or f"{question}/{source}", question, "r", "a", steps, source, Label(*label) if label else None, sound
    )
