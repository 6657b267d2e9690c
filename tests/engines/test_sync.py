"""The proof after new weights: silent where they are right, and what it says of every way in which they are wrong."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scripted import ByteTokenizer, ScriptedEngine

from apportion.pipeline.core.errors import WorkError
from apportion.pipeline.engines import sync
from apportion.pipeline.engines.base import Score, ScoreRequest
from apportion.pipeline.engines.sync import (
    COARSE,
    EXACT,
    SLACK,
    TOKENS,
    Probe,
    probe,
    prove_weights,
    replace_weights,
    rounding_of,
)

NEW = Path("new")
FIXED = probe(ByteTokenizer())
SIZE = sum(len(ids) - 1 for ids in FIXED.ids)
Values = np.ndarray


class Answering(ScriptedEngine):
    """Answers a probe with given log-probabilities, and a comparison of weights with given names."""

    def __init__(self, values: Values, unequal: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.values = values
        self.unequal = list(unequal)

    def score(self, requests, progress=None):
        return [Score(tuple(values), len(values) + 1, 0) for values in split(requests, self.values)]

    def unequal_weights(self, model):
        assert self.loaded[-1:] in ([], [model])
        return self.unequal


def split(requests: list[ScoreRequest], values: Values) -> list[list[float]]:
    ends = np.cumsum([len(request.target_ids) for request in requests])[:-1]
    return [part.tolist() for part in np.split(values, ends)]


def noise(rms: float, seed: int = 0) -> Values:
    drawn = np.random.default_rng(seed).standard_normal(SIZE)
    return rms * drawn / np.sqrt(np.mean(drawn**2))


LOGPS = -2 + noise(0.5)


@pytest.fixture(autouse=True)
def checkpoint(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The checkpoint gives the probe `LOGPS`; the dtypes in which it was asked for."""
    dtypes = []

    def reference(model: Path, fixed: Probe, dtype: str = "float32") -> list[list[float]]:
        dtypes.append(dtype)
        return split(fixed.requests, LOGPS)

    monkeypatch.setattr(sync, "reference_logps", reference)
    return dtypes


def test_a_probe_scores_all_but_the_first_token_and_fits_every_window():
    assert Probe(((5, 6, 7),)).requests == [ScoreRequest((5,), (6, 7))]
    assert len(FIXED.ids) == 4
    assert all(2 <= len(ids) <= TOKENS for ids in FIXED.ids)
    assert bytes(FIXED.ids[0][1:]).startswith(b"Question:")


def test_rounding_is_the_root_mean_square_against_weights_in_the_engines_dtype(checkpoint: list[str]):
    differences = np.zeros(SIZE)
    differences[:2] = 0.3, -0.4
    engine = Answering(LOGPS + differences)
    engine.dtype = "bfloat16"
    assert rounding_of(engine, NEW) == pytest.approx(0.5 / math.sqrt(SIZE))
    assert checkpoint == ["bfloat16"]


@pytest.mark.parametrize("rounding", [8e-6, 0.054])
def test_right_weights_pass_however_coarse_the_arithmetic(rounding: float):
    for seed in range(20):
        engine = Answering(LOGPS + noise(rounding, seed))
        replace_weights(engine, NEW, rounding)
        assert engine.loaded == [NEW]


def test_unequal_weights_stop_the_work_although_the_outputs_are_right():
    engine = Answering(LOGPS, ("lm_head.weight (packed)", "model.norm.weight"))
    with pytest.raises(
        WorkError, match=r"not those of new: lm_head\.weight \(packed\) and 1 more; nothing was sampled"
    ):
        replace_weights(engine, NEW, 0.05)
    with pytest.raises(WorkError, match=r"not those of new: lm_head\.weight \(packed\); nothing"):
        prove_weights(Answering(LOGPS, ("lm_head.weight (packed)",)), NEW)


@pytest.mark.parametrize("rounding", [8e-6, 0.054])
def test_outputs_beyond_the_engines_own_rounding_stop_the_work(rounding: float):
    engine = Answering(LOGPS + noise(max(EXACT, SLACK * rounding) * 1.05))
    with pytest.raises(WorkError, match="holds the weights of new and does not compute with them"):
        replace_weights(engine, NEW, rounding)
    replace_weights(engine, NEW, rounding, tolerance=1.0)


def test_without_a_measured_rounding_only_gross_faults_are_seen():
    replace_weights(Answering(LOGPS + noise(COARSE * 0.9)), NEW, None)
    with pytest.raises(WorkError, match="does not compute with them"):
        replace_weights(Answering(LOGPS + noise(COARSE * 1.1)), NEW, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_never_passes(bad: float):
    broken = LOGPS.copy()
    broken[9] = bad
    with pytest.raises(WorkError, match="does not compute with them"):
        replace_weights(Answering(broken), NEW, 0.05, tolerance=1e9)
