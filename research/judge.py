"""A judging model on logs with labels: is the annotated step, and agent, its first choice?

    .venv/bin/python -m research.judge --run RUN [--run RUN ...] [--window 1024] [--limit 100]

RUN is imported (`apportion import who-and-when FOLDER`, `apportion import process-bench FILE`). Printed for each source
of logs: labelled cases, the share whose step and whose agent is named, the same for a choice at random, and where there
are sound cases the share of them left alone with F1.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from apportion.pipeline.core.config import load_config
from apportion.pipeline.core.libraries import hush
from apportion.pipeline.engines import running
from apportion.pipeline.localizers.base import Means
from apportion.pipeline.localizers.generative_judge import GenerativeJudge
from apportion.pipeline.runs.run import Run
from apportion.pipeline.trajectory.case import Case, case_of
from research.intervals import interval


def main(
    run: Annotated[list[str], typer.Option(help="A run of imported logs; repeatable.")],
    data: Path = Path("data"),
    window: int = 1024,
    limit: Annotated[int, typer.Option(help="Cases of each source at most.")] = 1000,
) -> None:
    """Judge and count."""
    hush(data)
    config = load_config(None, (f"run.data={data}",))
    cases: dict[str, list[Case]] = defaultdict(list)
    for one in run:
        opened = Run(config, one)
        for source in opened.sources():
            for log in opened.logs(source.name):
                case = case_of(log)
                if (case.label or case.sound) and len(cases[case.source]) < limit:
                    cases[case.source].append(case)
    engine = running.engine_for(config.model, config.data_root)
    shown = Table("source", "labelled", "step", "at random", "agent", "at random", "sound left alone", "F1")
    for source, some in sorted(cases.items()):
        means = Means(lambda: engine, sound=any(case.sound for case in some))
        verdicts = GenerativeJudge(window=window).judge(some, means)
        rows, alone = [], []
        for case, verdict in zip(some, verdicts, strict=True):
            named = verdict.first_wrong
            if case.label is None:
                alone.append(named is None)
                continue
            agent = max(verdict.agents, key=lambda name: verdict.agents[name])
            step = named is not None and case.steps[named].index == case.label.step
            rows.append((step, 1 / len(case.steps), agent == case.label.agent, 1 / len(case.agents)))
        figures = np.array(rows, dtype=float)
        hit, clear = figures[:, 0].mean(), np.mean(alone) if alone else 0.0
        f1 = f"{2 * hit * clear / max(hit + clear, 1e-12):.3f}" if alone else ""
        shown.add_row(
            source, str(len(rows)), interval([*figures[:, :1]]), f"{figures[:, 1].mean():.3f}",
            interval([*figures[:, 2:3]]), f"{figures[:, 3].mean():.3f}", f"{clear:.3f}" if alone else "", f1,
        )  # fmt: skip
    Console(width=140).print(shown)


if __name__ == "__main__":
    typer.run(main)
