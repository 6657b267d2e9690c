"""The main road, measured: one command, one process, the demo's team on tasks of our own.

    .venv/bin/python -m research.road [--tasks 20] [--out FILE.json]

Prints seconds per stage, rollouts/s, generated tokens/s, coalitions/s, the share of prompt tokens served from the
cache, the share of the time that orchestration takes (everything that is neither the engine nor its start), and
peak memory. Every figure comes from this one run in a fresh store.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


class Timed:
    """An engine that adds up the seconds and tokens of its calls."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.seconds = {"sample": 0.0, "score": 0.0}
        self.sampled_prompt = self.sampled_cached = self.generated = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def sample(self, requests: Sequence[Any]) -> list[Any]:
        """Sample and count."""
        begin = time.perf_counter()
        samples: list[Any] = self._engine.sample(requests)
        self.seconds["sample"] += time.perf_counter() - begin
        self.sampled_prompt += sum(len(request.prompt_ids) for request in requests)
        self.sampled_cached += sum(sample.cached_tokens for sample in samples)
        self.generated += sum(len(sample.token_ids) for sample in samples)
        return samples

    def score(self, requests: Sequence[Any], progress: Any = None) -> list[Any]:
        """Score and count."""
        begin = time.perf_counter()
        scores: list[Any] = self._engine.score(requests, progress)
        self.seconds["score"] += time.perf_counter() - begin
        return scores


def clock(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result of `work` and its seconds."""
    begin = time.perf_counter()
    return work(), time.perf_counter() - begin


def measure(tasks: int, data: Path) -> dict[str, Any]:
    """Run the road once in the empty folder `data`."""
    from apportion.pipeline.core.config import load_config
    from apportion.pipeline.core.libraries import hush
    from apportion.pipeline.engines.checkpoints import resolve_model
    from apportion.pipeline.tasks.multihop import generate, write

    hush(data)
    write(generate(tasks, 0), data / "world")
    documents = {name: str(data / "world" / f"{name}.jsonl") for name in ("owners", "homes")}
    model = resolve_model("smollm2", data_root=ROOT / "data")
    sets = {
        "run.name": "road", "run.data": str(data), "model.path": str(model),
        "tasks.path": str(data / "world" / "tasks.jsonl"), "team.file": "configs/teams/clerks.toml",
        "team.tools.owners.documents": documents["owners"], "team.tools.homes.documents": documents["homes"],
        "team.tools.registers.documents": list(documents.values()), "failures.localizer": "none",
    }  # fmt: skip
    overrides = tuple(f"{key}={json.dumps(value)}" for key, value in sets.items())
    config = load_config(Path("configs/demo.toml"), overrides)

    from apportion.flows.common import light
    from apportion.flows.stage import play
    from apportion.pipeline.engines import running
    from apportion.pipeline.runs.run import Run
    from apportion.pipeline.runs.sql import query
    from apportion.pipeline.stages.credit import Credit
    from apportion.pipeline.stages.sample import Sample

    engine, start = clock(lambda: running.engine_for(config.model, config.data_root))
    timed = Timed(engine)
    for one in running._running:
        one.engine = timed
    with light():
        _, sampling = clock(lambda: play(Sample(config)))
        games, annotating = clock(lambda: sum(play(Credit(Run(config, "road")))))

    def one(text: str) -> dict[str, Any]:
        return dict(query(config.store_root, text).to_pylist()[0])

    rollouts = one("SELECT count(*)::INT AS n FROM trajectories")["n"]
    scored = one(
        "SELECT count(*)::INT AS n, sum(prompt_tokens)::INT AS prompt, sum(cached_tokens)::INT AS cached "
        "FROM coalitions"
    )
    engine_seconds = sum(timed.seconds.values())
    rates = {row["origin"]: row["rate"] for row in query(config.store_root, "FROM success").to_pylist()}
    return {
        "machine": f"{platform.machine()}, {_cpu()}",
        "dtype": str(engine.dtype),
        "tasks": tasks,
        "rollouts": rollouts,
        "games": games,
        "seconds": {
            "engine start": start,
            "sample": sampling,
            "of which engine": timed.seconds["sample"],
            "annotate": annotating,
            "of which engine ": timed.seconds["score"],
        },
        "team_success": rates.get("sampled"),
        "solo_success": rates.get("solo"),
        "rollouts_per_second": rollouts / sampling,
        "generated_tokens_per_second": timed.generated / timed.seconds["sample"],
        "cached_share_sampling": timed.sampled_cached / timed.sampled_prompt,
        "coalitions": scored["n"],
        "coalitions_per_second": scored["n"] / timed.seconds["score"],
        "cached_share_scoring": scored["cached"] / scored["prompt"],
        "uncached_tokens_per_second_scoring": (scored["prompt"] - scored["cached"]) / timed.seconds["score"],
        "orchestration_share": 1 - engine_seconds / (sampling + annotating),
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def _cpu() -> str:
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments.tasks, Path(folder))
    for name, value in figures.items():
        if isinstance(value, dict):
            for inner, seconds in value.items():
                print(f"{inner:38}{seconds:10.1f} s")
        else:
            print(f"{name:38}{value:10.3g}" if isinstance(value, float) else f"{name:38}{value!s:>10}")
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
