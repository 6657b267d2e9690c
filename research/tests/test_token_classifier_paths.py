"""A token classifier's checkpoint may lie in any folder, also in one whose name vLLM would take for a pattern."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from research.process_scorers import token_classifier as pooling


@pytest.mark.parametrize("name", ["plain", "with space", "runs [2]", "a*b?"])
def test_vllm_is_given_a_path_that_is_no_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    asked: list[str] = []

    def serve(command: list[str], **options: Any) -> SimpleNamespace:
        place = Path(command[-1])
        asked.append(json.loads((place / "options.json").read_text())["model"])
        np.save(place / "logits.npy", np.zeros((3, 2)))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(pooling.subprocess, "run", serve)
    assert [one.shape for one in pooling.TokenClassifier(str(folder)).logits([(1, 2), (3,)])] == [(2, 2), (1, 2)]
    assert not set("[*?") & set(asked[0])
    assert (Path(asked[0]) / "config.json").samefile(folder / "config.json")
