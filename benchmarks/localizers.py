"""Does a localizer find the step that matters? Alternatives at its step against alternatives at a random step.

    .venv/bin/python benchmarks/localizers.py --run RUN [--run RUN ...] [--alternatives 4] [--others 2]

Takes the first errors that `apportion annotate` found in the failures of some runs, and locates the same failures by
the other localizer. For every located failure the same agent rewrites the located step (`--alternatives` times) and
every other step of the log (`--others` times each), with seeds that no localizer has seen; every rewrite is continued
to the end and verified. What a uniformly random step does is the mean over all steps of the log, its exact expectation.
Printed, for each: failures located, the share of rewrites that turn the outcome at its step and at a random step,
their paired difference with a 95 % bootstrap interval over runs and failures; and, of the runs that were repaired, the
tokens spent on a confirmed repair.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from intervals import interval
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pipeline.config import Config, load_config
from pipeline.failures import value_drop
from pipeline.failures.log import Log, branch
from pipeline.quiet import hush
from pipeline.sql import query
from pipeline.store import Store

SPENT = """
SELECT count(*)::INT AS continuations, coalesce(sum(t.completion_tokens), 0)::BIGINT AS generated,
 (SELECT count(*) FROM localizations WHERE run_id IN ({runs}))::INT AS failures,
 (SELECT count(first_error) FROM localizations WHERE run_id IN ({runs}))::INT AS located,
 (SELECT count(*) FROM repairs WHERE run_id IN ({runs}) AND proposal NOT IN ('sibling', 'random') AND
  confirmation_successes / confirmation_k > baseline_successes / baseline_k)::INT AS confirmed,
 (SELECT count(*) FROM preferences WHERE run_id IN ({runs}))::INT AS pairs
FROM trajectories t WHERE run_id IN ({runs}) AND origin IN ('monte_carlo', 'repair')
"""


def main(
    run: Annotated[list[str], typer.Option(help="An annotated run; repeatable.")],
    data: Path = Path("data"),
    alternatives: int = 4,
    others: int = 2,
    seed: int = 1,
) -> None:
    """Measure the localizers on the failures of annotated runs."""
    hush(data)
    shares: dict[str, list[NDArray[np.float64]]] = {}
    for one in run:
        manifest = Store(data / "runs").manifest(one) or {}
        config = load_config(None, (), manifest.get("config"))
        for name, found in measure(config, one, alternatives, others, seed).items():
            if found.shape[1]:
                shares.setdefault(name, []).append(found)
    shown = Table("localizer", "located", "turned there", "at a random step", "paired difference", title=", ".join(run))
    for name, parts in shares.items():
        both = np.concatenate(parts, axis=1)
        there, elsewhere = both.mean(axis=1)
        gains = [part[0] - part[1] for part in parts]
        shown.add_row(name, str(both.shape[1]), f"{there:.3f}", f"{elsewhere:.3f}", interval(gains, seed))
    console = Console(width=120)
    console.print(shown)
    repaired = query(data / "runs", f"SELECT DISTINCT run_id FROM repairs WHERE run_id IN ({_quoted(run)})")
    spent = query(data / "runs", SPENT.format(runs=_quoted(repaired["run_id"].to_pylist() or run))).to_pylist()[0]
    spent["generated_tokens_per_confirmed_repair"] = round(spent["generated"] / max(1, spent["confirmed"]))
    for name, value in spent.items():
        console.print(f"{name.replace('_', ' '):40}{value:>12,}")


def _quoted(runs: list[str]) -> str:
    return ", ".join(f"'{one}'" for one in runs)


def measure(config: Config, run: str, number: int, others: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """By localizer: shares of turned outcomes, shape (2, failures), at the located step and at a random one."""
    from pipeline.stages.bench import Bench
    from pipeline.stages.failures import by_value, failures_of, plan

    told = Store(config.store_root).read("localizations", run).to_pylist()
    planned = plan(config, run)
    sources = dict.fromkeys(shard.source for shard in planned.shards)
    logs = {log.trajectory_id: log for source in sources for log in failures_of(planned, source).logs}
    bench = Bench.open(config)
    steps: dict[str, list[tuple[Log, int]]] = {}
    for row in told:
        if row["first_error"] is not None:
            steps.setdefault(row["localizer"], []).append((logs[row["trajectory_id"]], row["first_error"]))
    looked = [logs[name] for name in dict.fromkeys(row["trajectory_id"] for row in told)]
    if value_drop.NAME not in steps:
        steps[value_drop.NAME] = [(one.log, one.step) for one in by_value(bench, looked, []) if one.step is not None]
    most: dict[tuple[str, int], int] = {}
    for located in steps.values():
        for log, step in located:
            for turn in log.turns:
                key = log.trajectory_id, turn
                most[key] = max(most.get(key, 0), number if turn == step else others)
    asked = [branch(logs[name], turn, "benchmark", n, seed) for (name, turn), k in most.items() for n in range(k)]
    verdicts = iter(bench.judge("rewrites", asked))
    turned = {key: float(np.mean([bool(next(verdicts)[1]) for _ in range(k)])) for key, k in most.items()}
    return {
        name: np.array(
            [
                [turned[log.trajectory_id, step] for log, step in located],
                [np.mean([turned[log.trajectory_id, turn] for turn in log.turns]) for log, _ in located],
            ]
        )
        for name, located in steps.items()
    }


if __name__ == "__main__":
    typer.run(main)
