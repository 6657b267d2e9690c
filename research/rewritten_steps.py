"""Does a localizer find the step that matters? Alternatives at its step against alternatives at a random step.

    .venv/bin/python -m research.rewritten_steps --run RUN [--run RUN ...] [--alternatives 4] [--others 2]

Takes the first errors that `apportion annotate` found in the failures of some runs, and locates the same failures by
the localizers that need no continuations: value_drop, the ranker learned on public failures (`learned`) and the one on
planted errors (`planted`, text alone). For every located failure the same agent rewrites the located step
(`--alternatives` times) and every other step of the log (`--others` times each), with seeds that no localizer has seen;
every rewrite is continued to the end and verified. What a uniformly random step does is the mean over all steps of the
log, its exact expectation.
Printed, for each: failures located, the share of rewrites that turn the outcome at its step, at the next one, and at a
random step; the paired difference of the first and the last with a 95 % bootstrap interval over runs and failures.
Rewriting an earlier step rewrites the error as well, so the first step of a log (last row) turns about as many; what
tells a localizer from it is how few are turned one step later.
Then, of the runs that were repaired, the tokens spent on a confirmed repair.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.core.libraries import hush
from apportion.pipeline.localizers._configured import Configured
from apportion.pipeline.localizers.base import make
from apportion.pipeline.play.branch import branch
from apportion.pipeline.repair.located import locate
from apportion.pipeline.runs.sql import query
from apportion.pipeline.runs.store import Store
from apportion.pipeline.trajectory.case import case_of
from apportion.pipeline.trajectory.log import Log
from research.intervals import interval
from research.planted_ranker import Ranked
from research.planted_ranker import measure as signals

FIRST = "(first step)"
OURS = "proposal NOT IN ('sibling', 'random')"
SPENT = """
SELECT count(*)::INT AS continuations, coalesce(sum(t.completion_tokens), 0)::BIGINT AS generated,
 (SELECT count(*) FROM localizations WHERE run_id IN ({runs}))::INT AS failures,
 (SELECT count(first_error) FROM localizations WHERE run_id IN ({runs}))::INT AS located,
 (SELECT count(*) FROM repairs WHERE run_id IN ({runs}) AND {ours} AND
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
    shown = Table("localizer", "located", "turned there", "at the next step", "at a random step", "there less random",
                  title=", ".join(run))  # fmt: skip
    for name, parts in shares.items():
        together = np.concatenate(parts, axis=1)
        gains = [part[0] - part[2] for part in parts]
        means = (f"{one:.3f}" for one in together.mean(axis=1))
        shown.add_row(name, str(together.shape[1]), *means, interval(gains, seed))
    console = Console(width=120)
    console.print(shown)
    repaired = query(data / "runs", f"SELECT DISTINCT run_id FROM repairs WHERE run_id IN ({_quoted(run)}) AND {OURS}")
    if not repaired.num_rows:
        console.print("none of these runs was repaired: what a confirmed repair costs is not known")
        return
    spent = query(data / "runs", SPENT.format(runs=_quoted(repaired["run_id"].to_pylist()), ours=OURS)).to_pylist()[0]
    spent["generated_tokens_per_confirmed_repair"] = round(spent["generated"] / max(1, spent["confirmed"]))
    for name, value in spent.items():
        console.print(f"{name.replace('_', ' '):40}{value:>12,}")


def _quoted(runs: list[str]) -> str:
    return ", ".join(f"'{one}'" for one in runs)


def measure(config: Config, run: str, number: int, others: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """By localizer: shares of turned outcomes, shape (3, failures): at the located step, the next and a random one."""
    from apportion.pipeline.play.continuation import Bench
    from apportion.pipeline.runs.run import Run
    from apportion.pipeline.stages.blame import Blame

    told = Store(config.store_root).read("localizations", run).to_pylist()
    planned = Blame(Run(config, run))
    sources = dict.fromkeys(shard.source for shard in planned.shards)
    logs = {log.trajectory_id: log for source in sources for log in planned.failures(source).logs}
    bench = Bench.open(config)
    steps: dict[str, dict[str, int]] = defaultdict(dict)
    for row in told:
        if row["first_error"] is not None:
            steps[row["localizer"]][row["trajectory_id"]] = row["first_error"]
    looked = [logs[name] for name in dict.fromkeys(row["trajectory_id"] for row in told)]
    means = Configured(config).means()
    for name in ("value_drop", "learned"):
        method = make(name, config.failures.parameters(name))
        for one in locate(looked, method, name, (), means, everywhere=True)[0]:
            if one.step is not None:
                steps[name][one.log.trajectory_id] = one.step
    steps["planted"] = {log.trajectory_id: by_planted(log) for log in looked}
    most = {(log.trajectory_id, turn): others for log in looked for turn in log.turns}
    for located in steps.values():
        most |= dict.fromkeys(located.items(), number)
    steps[FIRST] = {log.trajectory_id: log.turns[0] for log in looked}
    asked = [branch(logs[name], turn, "benchmark", n, seed) for (name, turn), k in most.items() for n in range(k)]
    verdicts = iter(bench.judge("rewrites", asked))
    turned = {key: float(np.mean([bool(next(verdicts)[1]) for _ in range(k)])) for key, k in most.items()}
    return {
        name: np.array([_shares(turned, logs[log], step) for log, step in located.items()]).T.reshape(3, -1)
        for name, located in steps.items()
    }


def by_planted(log: Log) -> int:
    """The step that the ranker trained on planted errors names, without its signals that ask a model."""
    case = case_of(log)
    (verdict,) = Ranked.shipped(signals([log], None, "")).judge([case])
    return case.steps[int(verdict.steps.argmax())].index


def _shares(turned: dict[tuple[str, int], float], log: Log, step: int) -> tuple[float, float, float]:
    """At the step, at the agents' next one (0 after the last: the failure stands), and on average over all."""
    every = [turned[log.trajectory_id, turn] for turn in log.turns]
    place = log.turns.index(step)
    return every[place], [*every, 0.0][place + 1], float(np.mean(every))


if __name__ == "__main__":
    typer.run(main)
