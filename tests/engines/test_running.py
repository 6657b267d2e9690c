"""The engines of a process: which is taken, whose weights are replaced, and which are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedEngine
from small_checkpoint import write_checkpoint

from apportion.pipeline.core.config import ModelConfig
from apportion.pipeline.engines import running
from apportion.pipeline.engines.running import engine_for


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The checkpoints that engines were started with; a script takes vLLM's place."""
    paths: list[Path] = []

    def start(path: Path, **options: Any) -> ScriptedEngine:
        paths.append(path)
        return ScriptedEngine()

    def replace(engine: ScriptedEngine, path: Path, *arguments: Any) -> None:
        engine.load_weights(path)

    monkeypatch.setattr(running, "_running", [])
    monkeypatch.setattr("apportion.pipeline.engines.vllm.VllmEngine", start)
    monkeypatch.setattr("apportion.pipeline.engines.sync.replace_weights", replace)
    monkeypatch.setattr("apportion.pipeline.engines.sync.prove_weights", lambda engine, path: None)
    monkeypatch.setattr("apportion.pipeline.engines.sync.rounding_of", lambda engine, path: 0.0)
    return paths


def checkpoint(folder: Path, weights: float) -> ModelConfig:
    """A small checkpoint; all have the same architecture and tokenizer."""
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"weight": np.full(4, weights, np.float32)}, write_checkpoint(folder) / "model.safetensors")
    return ModelConfig(path=str(folder))


def test_weights_wanted_beside_others_get_an_engine_of_their_own_and_keep_it(tmp_path: Path, started: list[Path]):
    one, two, three = (checkpoint(tmp_path / str(number), number) for number in (1, 2, 3))
    first = engine_for(one, tmp_path)
    second = engine_for(two, tmp_path, [first])
    assert first is not second
    assert [path.name for path in started] == ["1", "2"]
    assert (engine_for(two, tmp_path), engine_for(one, tmp_path, [second])) == (second, first)
    assert not first.loaded
    assert not second.loaded
    assert engine_for(three, tmp_path, [second]) is first
    assert [path.name for path in first.loaded] == ["3"]
    assert len(started) == 2


def test_other_weights_take_the_place_of_those_that_nobody_speaks_with(tmp_path: Path, started: list[Path]):
    one, two = (checkpoint(tmp_path / str(number), number) for number in (1, 2))
    engine = engine_for(one, tmp_path)
    assert engine_for(two, tmp_path) is engine
    assert [path.name for path in engine.loaded] == ["2"]
    assert len(started) == 1


def test_two_policies_of_the_same_weights_share_an_engine(tmp_path: Path, started: list[Path]):
    one, same = (checkpoint(tmp_path / name, 1) for name in ("a", "b"))
    engine = engine_for(one, tmp_path)
    assert engine_for(same, tmp_path, [engine]) is engine
    assert len(started) == 1
