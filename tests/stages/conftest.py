"""The scripted engine that the stage tests share."""

from __future__ import annotations

import pytest
from scripted import ScriptedEngine
from test_sample_annotate_unit import reply


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """The engine of every stage."""
    made = ScriptedEngine(reply)
    monkeypatch.setattr("apportion.pipeline.engines.running.engine_for", lambda model, root: made)
    return made
