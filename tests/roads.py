"""The small run on a real model that the engine tests share: what it is configured with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from apportion.pipeline.core.config import Config, load_config

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Road:
    """A run that has been sampled and credited by the real flows."""

    config: Config
    run: str


def small_config(folder: Path, name: str, **sets: object) -> Config:
    """Eight two-hop questions, two rollouts each, in two shards, below `folder`."""
    return load_config(None, small_overrides(folder, name, **sets))


def small_overrides(folder: Path, name: str, **sets: object) -> tuple[str, ...]:
    """What `small_config` sets, as the command line takes it."""
    from apportion.pipeline.tasks.multihop import generate, write

    write(generate(8, seed=3), folder / "world")
    documents = {name: str(folder / "world" / f"{name}.jsonl") for name in ("owners", "homes")}
    values = {
        "run.name": name,
        "run.data": str(folder),
        "model.path": str(embedded_model()),
        "model.dtype": "float32",
        "model.max_model_len": 2048,
        "tasks.path": str(folder / "world" / "tasks.jsonl"),
        "team.file": "configs/teams/clerks.toml",
        "team.tools.owners.documents": documents["owners"],
        "team.tools.homes.documents": documents["homes"],
        "team.tools.registers.documents": list(documents.values()),
        "sample.group_size": 2,
        "sample.shard_size": 8,
        "sample.max_tokens": 24,
        "sample.temperature": 0.5,
        "failures.limit": 2,
        "failures.rollouts": 2,
        "failures.alternatives": 2,
        "failures.confirmations": 2,
        **{key.replace("__", "."): value for key, value in sets.items()},
    }
    return tuple(f"{key}={json.dumps(value)}" for key, value in values.items())


def embedded_model() -> Path:
    """SmolLM2-135M-Instruct, converted at its first use."""
    from apportion.pipeline.engines.checkpoints import resolve_model

    return resolve_model("smollm2", data_root=ROOT / "data")


def sample(config: Config) -> str:
    """Sample what is pending through the real flow; the run's id."""
    from apportion.flows.stage import play
    from apportion.pipeline.stages.sample import Sample

    stage = Sample(config)
    play(stage)
    return stage.run.id


def annotate(config: Config, run: str) -> tuple[int, int]:
    """Credit and blame what is pending through the real flows; the games played and the failures looked at."""
    from apportion.flows.stage import play
    from apportion.pipeline.runs.run import Run
    from apportion.pipeline.stages.blame import Blame
    from apportion.pipeline.stages.credit import Credit

    opened = Run(config, run)
    return sum(play(Credit(opened))), sum(play(Blame(opened)))
