"""A project of a user's own: one TOML file, one file of code beside it, and a scripted engine."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedEngine

from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.sample import Sample
from apportion.pipeline.stages.stage import play


@dataclass(frozen=True)
class Project:
    """Its folder is not the working directory."""

    folder: Path

    def write(self, code: str) -> None:
        """The file `own.py`."""
        (self.folder / "own.py").write_text(code)

    def config(self, toml: str = "", *overrides: str) -> Config:
        """Three questions, two rollouts each; a lone agent unless `toml` has a team."""
        lone = '[team]\ntopology = "solo"\n[[team.agents]]\nname = "amy"\nrole = "lone"\n'
        head = (
            f'[run]\nname = "r"\ndata = "{self.folder / "data"}"\n[model]\npath = "{self.folder / "model"}"\n'
            "[sample]\ngroup_size = 2\nsolo = false\n"
        )
        tasks = "" if "[tasks]" in toml else '[tasks]\npath = "tasks.jsonl"\n'
        (self.folder / "run.toml").write_text(head + tasks + toml + ("" if "[team]" in toml else lone))
        return load_config(self.folder / "run.toml", overrides)

    def sampled(self, config: Config) -> list[dict[str, Any]]:
        """Sample the run; its trajectories."""
        play(Sample(config))
        return self.rows(config, "trajectories")

    def rows(self, config: Config, table: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = Store(config.store_root).read(table, config.run_id).to_pylist()
        return rows


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A model that adds, and is wrong in the first rollout of each question."""
    folder, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    (folder / "model").mkdir(parents=True)
    elsewhere.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / "model" / name).write_text("{}")
    rows = [{"question": f"What is {n}+1?", "answer": str(n + 1)} for n in range(3)]
    (folder / "tasks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    asked: dict[str, int] = {}

    def reply(prompt: str) -> str:
        question = re.findall(r"What is (\d+)\+1", prompt)[-1]
        asked[question] = asked.get(question, 0) + 1
        return f"answer: {int(question) + (asked[question] > 1)}"

    engine = ScriptedEngine(reply)
    monkeypatch.setattr("apportion.pipeline.engines.running.engine_for", lambda model, root: engine)
    monkeypatch.chdir(elsewhere)
    return Project(folder)
