"""The check after new weights: what it lets through, and every way in which a sync can be wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import ByteTokenizer, ScriptedEngine, hashed_log_p

from pipeline.engines import sync
from pipeline.engines.base import Score, ScoreRequest
from pipeline.engines.sync import TOKENS, Probe, check, check_moved, probe
from pipeline.errors import WorkError

OLD, NEW = Path("old"), Path("new")
FIXED = probe(ByteTokenizer())
SIZE = sum(len(one) - 1 for one in FIXED.ids)
Values = np.ndarray


class Fake(ScriptedEngine):
    """Answers a probe with given log-probabilities."""

    def __init__(self, values: Values) -> None:
        super().__init__()
        self.values = values

    def score(self, requests, progress=None):
        return [Score(tuple(one), len(one) + 1, 0) for one in split(requests, self.values)]


def split(requests: list[ScoreRequest], values: Values) -> list[list[float]]:
    ends = np.cumsum([len(request.target_ids) for request in requests])[:-1]
    return [one.tolist() for one in np.split(values, ends)]


def noise(size: float, seed: int = 0) -> Values:
    return size * np.random.default_rng(seed).standard_normal(SIZE)


LOGPS = -2 + noise(0.5)


@pytest.fixture
def policies(monkeypatch: pytest.MonkeyPatch) -> Callable[[Values, Values], None]:
    """Sets what the two checkpoints give the probe."""

    def write(old: Values, new: Values) -> None:
        told = {OLD: old, NEW: new}
        monkeypatch.setattr(sync, "trainer_logps", lambda model, fixed: split(fixed.requests, told[model]))

    return write


def test_a_probe_scores_all_but_the_first_token_and_fits_every_window():
    assert Probe(((5, 6, 7),)).requests == [ScoreRequest((5,), (6, 7))]
    assert len(FIXED.ids) == 4
    assert all(2 <= len(one) <= TOKENS for one in FIXED.ids)
    assert bytes(FIXED.ids[0][1:]).startswith(b"Question:")


def test_the_right_weights_pass_with_the_worst_difference(policies):
    ours = LOGPS.copy()
    ours[17] += 0.004
    ours[60] -= 0.007
    policies(LOGPS + 1, LOGPS)
    assert check(Fake(ours), NEW, FIXED, 0.01, before=OLD) == pytest.approx(0.007)


def test_an_engine_that_speaks_the_policy_agrees_token_by_token(monkeypatch: pytest.MonkeyPatch):
    """The engine's own order of sequences and tokens is the checkpoint's."""
    told = [list(score.logprobs) for score in ScriptedEngine().score(FIXED.requests)]
    monkeypatch.setattr(sync, "trainer_logps", lambda model, fixed: told)
    assert check(ScriptedEngine(log_p=hashed_log_p), NEW, FIXED, 1e-9) == 0
    with pytest.raises(WorkError, match="not those of new"):
        check(ScriptedEngine(log_p=lambda prefix, target: -1.0), NEW, FIXED, 0.1)


def test_one_token_beyond_the_tolerance_stops_the_work(policies):
    ours = LOGPS.copy()
    ours[3] -= 0.25
    policies(LOGPS, LOGPS)
    with pytest.raises(WorkError, match=r"not those of new: log-probabilities differ by 0\.25 nats.*tolerance 0\.1"):
        check(Fake(ours), NEW, FIXED, 0.1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_never_passes(policies, bad: float):
    broken = LOGPS.copy()
    broken[9] = bad
    policies(LOGPS, LOGPS)
    with pytest.raises(WorkError, match="weights in vLLM are not those of new"):
        check(Fake(broken), NEW, FIXED, 1e9)
    policies(LOGPS, broken)
    with pytest.raises(WorkError, match="new: the checkpoint's own log-probabilities are not finite"):
        check(Fake(broken), NEW, FIXED, 1e9)


@pytest.mark.parametrize("update", [3e-4, 1e-2])
def test_old_weights_within_the_tolerance_are_found_out(policies, update: float):
    old, new = LOGPS, LOGPS + noise(update, 1)
    policies(old, new)
    stale = Fake(old + noise(1e-5, 2))
    assert check(stale, NEW, FIXED, 0.1) > 1e-4
    with pytest.raises(WorkError, match="nearer to those of old"):
        check(stale, NEW, FIXED, 0.1, before=OLD)
    check(Fake(new + noise(1e-5, 2)), NEW, FIXED, 0.1, before=OLD)


def test_a_sync_that_stopped_half_way_is_found_out(policies):
    """Two fifths of the way from the old to the new: between them, as after a reload that left layers behind."""
    old, new = LOGPS, LOGPS + noise(1e-2, 1)
    policies(old, new)
    with pytest.raises(WorkError, match="nearer"):
        check(Fake(old + 0.4 * (new - old)), NEW, FIXED, 0.1, before=OLD)


def test_checkpoints_that_cannot_be_told_apart_are_no_error(policies):
    policies(LOGPS, LOGPS + 5e-5)
    assert check(Fake(LOGPS), NEW, FIXED, 0.1, before=OLD) == pytest.approx(5e-5)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-4, 1e-3, 1e-2, 3e-2]))
def test_rounding_is_never_taken_for_old_weights(seed: int, update: float):
    """bfloat16 blurs by 0.02 nats a token, more than many an update moves: the right weights still pass."""
    old, new = LOGPS, LOGPS + noise(update, 20_000)
    assert not sync._stale(new + noise(0.02, seed), new, old)


def test_large_updates_are_told_apart_in_bfloat16_too(policies):
    old, new = LOGPS, LOGPS + noise(0.05, 1)
    policies(old, new)
    with pytest.raises(WorkError, match="nearer"):
        check(Fake(old + noise(0.02, 2)), NEW, FIXED, 0.5, before=OLD)


def test_an_engine_that_says_the_very_same_after_a_load_is_caught():
    fixed = Probe(((1, 2, 3), (4, 5)))
    engine = ScriptedEngine()
    old = engine.score(fixed.requests)
    with pytest.raises(WorkError, match="stayed the same"):
        check_moved(engine, Path("new"), fixed, old)
    engine.log_p = lambda prefix, byte: -0.25
    check_moved(engine, Path("new"), fixed, old)
