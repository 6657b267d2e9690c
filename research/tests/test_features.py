"""Signals that ask a scorer: computed once, filed, and refused in one line where something is lacking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from localize_logs import planted
from scripted import ScriptedEngine

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.engines.base import Progress, Score, ScoreRequest
from research import features
from research.features import Features
from research.signals import hinted, surprise, value


def test_signals_on_file_are_not_computed_again(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    first = Features((surprise.signal,), lambda: engine, "one", tmp_path).of([planted(0)])[0]
    assert len(engine.scored) == 1

    def never() -> ScriptedEngine:
        raise AssertionError("the scorer was started")

    again = Features((surprise.signal,), never, "one", tmp_path).of([replace(planted(0), label=None)])[0]
    assert again.tolist() == first.tolist()
    Features((surprise.signal,), lambda: engine, "two", tmp_path).of([planted(0)])
    assert len(engine.scored) == 2


def test_a_further_signal_leaves_what_is_on_file(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    Features((surprise.signal,), lambda: engine, "one", tmp_path).of([planted(0)])
    both = Features((surprise.signal, value.signal), lambda: engine, "one", tmp_path)
    table = both.of([planted(0)])[0]
    assert table.shape[1] == len(both.columns)
    assert {len(request.target_ids) for request in engine.scored[1]} == {len(" 7")}  # the value's alone


def test_a_scorer_that_is_stopped_loses_only_its_last_cases(tmp_path: Path) -> None:
    cases = [planted(i) for i in range(features.BATCH + 1)]

    class Stopped(ScriptedEngine):
        def score(self, requests: Sequence[ScoreRequest], progress: Progress | None = None) -> list[Score]:
            if self.scored:
                raise KeyboardInterrupt
            return super().score(requests, progress)

    stopped = Stopped()
    with pytest.raises(KeyboardInterrupt):
        Features((surprise.signal,), lambda: stopped, "one", tmp_path).of(cases)
    engine = ScriptedEngine()
    Features((surprise.signal,), lambda: engine, "one", tmp_path).of(cases)
    assert [len(asked) for asked in engine.scored] == [1]


def test_a_signal_that_cannot_be_read_says_why() -> None:
    with pytest.raises(UserError, match="ask a scorer"):
        Features((surprise.signal,)).of([planted(0)])
    needs = hinted.signal
    with pytest.raises(UserError, match="no reference answer"):
        Features((needs,)).of([replace(planted(0), reference=None)])
