"""How often does `learned` hold its tongue, and what is it worth where it speaks? On its own corpus and outside of it.

    .venv/bin/python -m research.likeness WHO_AND_WHEN [--solutions PROCESS_BENCH] [--retail LOGS LABELS]
        [--run RUN ... --data data]

The corpus by ten folds: edge and weights from nine, figures on the tenth. Each half of it, left out and held to the
other. Then the sources that neither edge nor weights have seen: wrong solutions of ProcessBench, AgentRx's labelled
retail runs of a single agent (its step numbers count from 1), failures of runs of our own. Printed: logs, the share
that is called unlike, and of those with a label the share of steps that each names, floors first; `learned` on all, as
if asked by name, and on those that it would speak of. What is trained is trained on Who&When alone.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from apportion.pipeline.core.config import load_config
from apportion.pipeline.core.libraries import hush
from apportion.pipeline.evaluation.folds import cross_validate, folds_by_question, unlabelled
from apportion.pipeline.evaluation.labelled import read
from apportion.pipeline.evaluation.metrics import FIGURES, marks
from apportion.pipeline.localizers.base import TEXT_ONLY, Localizer, Verdict, make
from apportion.pipeline.runs.store import Store
from apportion.pipeline.trajectory.case import Case, Label, case_of, labelled_place

STEP = FIGURES.index("step")
FLOORS = {
    name: make(name) for name in ("random", "constant_step_from_start", "first_speaker", "last_speaker", "structure")
}


def main(
    who_and_when: Path,
    solutions: Path | None = None,
    retail: Annotated[tuple[Path, Path] | None, typer.Option(help="Logs and labels.")] = None,
    run: Annotated[list[str] | None, typer.Option(help="A run of our own; repeatable.")] = None,
    data: Path = Path("data"),
) -> None:
    """Measure how often the ranker abstains and how often it is right."""
    hush(data)
    corpus = list(read("who-and-when", who_and_when).cases)
    kinds = sorted({case.source for case in corpus})
    learned = make("learned")
    shown = Table("logs", "n", "unlike", "labelled", *FLOORS, "learned", "where it speaks")
    folds = folds_by_question(corpus)
    by_folds = [cross_validate(one, corpus, folds, TEXT_ONLY) for one in (*FLOORS.values(), learned)]
    for kind in kinds:
        inside = [i for i, case in enumerate(corpus) if case.source == kind]
        add(shown, f"{kind}, by folds", [corpus[i] for i in inside], [[all_[i] for i in inside] for all_ in by_folds])
    for kind in kinds:
        rest = [case for case in corpus if case.source != kind]
        judged(
            [case for case in corpus if case.source == kind],
            f"{kind}, left out",
            shown,
            learned.fit(rest, TEXT_ONLY),
            rest,
        )
    if solutions:
        wrong = [case for case in read("process-bench", solutions).cases if case.label is not None]
        judged(wrong, "ProcessBench, wrong", shown, learned, corpus)
    if retail:
        judged(retail_cases(*retail), "AgentRx retail", shown, learned, corpus)
    for one in run or ():
        judged(own(one, data), one, shown, learned, corpus)
    Console(width=170).print(shown)


def judged(cases: Sequence[Case], name: str, shown: Table, learned: Localizer, corpus: Sequence[Case]) -> None:
    """A row on logs outside the corpus."""
    asked = [unlabelled(case) for case in cases]
    fitted = [floor.fit(corpus, TEXT_ONLY) for floor in FLOORS.values()]
    add(shown, name, cases, [one.judge(asked, TEXT_ONLY) for one in (*fitted, learned)])


def add(shown: Table, name: str, cases: Sequence[Case], verdicts: Sequence[Sequence[Verdict]]) -> None:
    """Verdicts of each localizer, `learned` last."""
    far = [one.unlikeness is not None and one.unlikeness > 1 for one in verdicts[-1]]
    known = [i for i, case in enumerate(cases) if labelled_place(case) is not None]
    near = [i for i in known if not far[i]]

    def right(which: Sequence[int], some: Sequence[Verdict]) -> str:
        if not which:
            return "-"
        table = marks([cases[i] for i in which], [some[i] for i in which])
        return (
            f"{100 * table[:, STEP].mean():.1f} ({len(which)})"
            if which is near
            else f"{100 * table[:, STEP].mean():.1f}"
        )

    cells = [right(known, some) for some in verdicts]
    shown.add_row(
        name, str(len(cases)), f"{100 * np.mean(far):.0f} %", str(len(known)), *cells, right(near, verdicts[-1])
    )


def retail_cases(logs: Path, labels: Path) -> list[Case]:
    """Runs of a single agent with a user and tools; the label is AgentRx's root cause, where there is one."""
    runs = json.loads(logs.read_text(encoding="utf-8"))
    kept = ("role", "content", "tool_calls", "tool_call_id")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "retail.jsonl"
        lines = (
            {"messages": [{k: m[k] for k in kept if k in m} for m in one["traj"]], "success": False} for one in runs
        )
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        cases = read("messages", file).cases
    if len(cases) != len(runs):
        raise SystemExit(f"{logs}: {len(runs) - len(cases)} of its runs could not be read as chats")
    causes = {}
    for record in json.loads(labels.read_text(encoding="utf-8")):
        by_id = {one["failure_id"]: one for one in record["failures"]}
        cause = by_id[record["root_cause"]["failure_id"]]
        causes[record["trajectory_id"]] = Label(cause["step_number"] - 1, cause["failed_agent"].casefold())
    return [replace(case, label=causes.get(one["task_id"])) for case, one in zip(cases, runs, strict=True)]


def own(run: str, data: Path) -> list[Case]:
    """The failures of a run of our own; nobody has labelled them."""
    from apportion.pipeline.runs.run import Run
    from apportion.pipeline.stages.blame import Blame

    config = load_config(
        None,
        (f"run.data={data}", "failures.localizer=learned"),
        (Store(data / "runs").manifest(run) or {}).get("config"),
    )
    planned = Blame(Run(config, run))
    sources = dict.fromkeys(shard.source for shard in planned.shards)
    return [case_of(log) for source in sources for log in planned.failures(source).logs]


if __name__ == "__main__":
    typer.run(main)
