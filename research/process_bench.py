"""ProcessBench: is the first wrong step of a solution found, and a right solution left alone?

    .venv/bin/python -m research.process_bench FOLDER [--plant train.jsonl] [--keep FOLDER] [--family NAME ...]

FOLDER holds ProcessBench's files; --plant names a train.jsonl of GSM8K, in whose solutions errors are planted to train
the process model of `trained`. Every family is fitted by cross-validation over the problems (10 folds), for several
draws of the folds; a solution's figure is its mean over the draws. Printed for each family and subset: the share of
wrong solutions whose first wrong step is named, of right ones in which none is named, their harmonic mean F1 (the
benchmark's own figure) with a 95 % bootstrap interval over problems; first the floor, the best that can be had without
reading anything, fitted to the very labels that it is held to; then F1 less that of "structure and arithmetic", on the
same problems and the same bootstrap samples. What a model says is kept in --keep, so that figures cost no model again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import PrivateAttr
from rich.console import Console
from rich.table import Table

from apportion.cli.progress import Bars
from apportion.pipeline.core.config import load_config
from apportion.pipeline.core.libraries import hush
from apportion.pipeline.core.progress import watched
from apportion.pipeline.evaluation import metrics
from apportion.pipeline.evaluation.folds import cross_validate, folds_by_question
from apportion.pipeline.evaluation.labelled import read
from apportion.pipeline.evaluation.metrics import Estimate
from apportion.pipeline.localizers.base import Floats, Localizer, Means, Verdict, fitted
from apportion.pipeline.localizers.generative_judge import GenerativeJudge
from apportion.pipeline.localizers.random import Random
from apportion.pipeline.localizers.structure import Structure
from apportion.pipeline.trajectory.case import Case
from research.process_scorers.families import Sources, families
from research.process_scorers.ranked import ProcessChecker, Signals

FOLDS = 10
AGAINST = "structure and arithmetic"
QUICK = ("random", "structure", "arithmetic", AGAINST)
console = Console(width=150)


class Once(Localizer):
    """A localizer that learns nothing, asked once for each solution; its answers are kept."""

    _answers: Signals | None = PrivateAttr(default=None)

    def judge(self, cases: Sequence[Case], means: Means) -> list[Verdict]:
        assert self._answers is not None
        return [Verdict(x[:-1, 0], {}, float(x[-1, 0])) for x in self._answers.of(cases)]


def judge_once(sources: Sources, means: Means) -> Once:
    """The judge with a memory."""

    def measure(cases: Sequence[Case]) -> dict[str, Floats]:
        verdicts = GenerativeJudge().judge(cases, means)
        return {c.case_id: np.append(v.steps, v.none)[:, None] for c, v in zip(cases, verdicts, strict=True)}

    return fitted(Once(), _answers=Signals(measure, sources.file("judge")))


def main(
    solutions: Annotated[Path, typer.Argument(help="ProcessBench's files.")],
    plant: Annotated[Path | None, typer.Option(help="GSM8K's train.jsonl, for `trained`.")] = None,
    keep: Annotated[Path | None, typer.Option(help="A folder for what the model says.")] = None,
    family: Annotated[list[str] | None, typer.Option(help="Only this one (again for more).")] = None,
    draws: Annotated[int, typer.Option(help="Draws of the folds; 0 only asks the models, for --keep.")] = 3,
    limit: Annotated[int | None, typer.Option(help="Solutions of each subset and kind at most.")] = None,
    data: Path = Path("data"),
    out: Annotated[Path | None, typer.Option(help="Also write each solution's figures (JSON).")] = None,
) -> None:
    """Measure the families on both subsets."""
    hush(data)
    cases = some(read("process-bench", solutions).cases, limit)
    config = load_config(None, (f"run.data={data}",))
    sources = Sources(config, plant, keep=keep)
    means = Means(sources.engine, sound=True)
    known: dict[str, Localizer] = {
        "random": Random(), "structure": Structure(), **families(sources),
        "generative_judge": judge_once(sources, means),
    }  # fmt: skip
    asked = {*QUICK, *(family or [])}
    if unknown := asked - set(known):
        raise SystemExit(f"--family {unknown}: there are {', '.join(known)}")
    right: dict[str, Floats] = {}
    for name, one in known.items():
        if name not in asked:
            continue
        began = time.monotonic()
        with Bars() as bars, watched(bars):
            if not draws:
                ask(one, cases, means)
                continue
            right[name] = np.mean([marks(one, cases, seed, means) for seed in range(draws)], axis=0)
        console.print(f"{name}: {time.monotonic() - began:.0f} s")
    if not draws:
        return
    if out is not None:
        figures = {name: values.tolist() for name, values in right.items()}
        out.write_text(json.dumps({"cases": [case.case_id for case in cases], "right": figures}))
    report(cases, right)


def ask(family: Localizer, cases: Sequence[Case], means: Means) -> None:
    """Have all that the family reads measured."""
    for signals in family.signals(means) if isinstance(family, ProcessChecker) else ():
        signals.of(cases)
    if isinstance(family, Once):
        family.judge(cases, means)


def some(cases: Sequence[Case], limit: int | None) -> list[Case]:
    """The first `limit` wrong and the first `limit` right solutions of each subset."""
    kept: list[Case] = []
    for case in cases:
        alike = [one for one in kept if (one.source, one.sound) == (case.source, case.sound)]
        if (case.sound or case.label is not None) and (limit is None or len(alike) < limit):
            kept.append(case)
    return kept


def marks(family: Localizer, cases: Sequence[Case], seed: int, means: Means) -> Floats:
    """For one draw of the folds: is each solution judged rightly?"""
    return metrics.right_answers(cases, cross_validate(family, cases, folds_by_question(cases, FOLDS, seed), means))


def report(cases: Sequence[Case], right: dict[str, Floats]) -> None:
    """Both tables."""
    sound = np.array([case.sound for case in cases])
    everywhere = np.ones(len(cases), dtype=bool)
    names = sorted({case.source for case in cases})
    groups = {"both": everywhere} | {name: np.array([case.source == name for case in cases]) for name in names}
    heads = [
        f"{name} ({int((inside & ~sound).sum())} + {int((inside & sound).sum())})" for name, inside in groups.items()
    ]
    shown = Table("family", *heads, title="F1 (wrong solutions, right solutions)")
    cells: list[str] = []
    for inside in groups.values():
        places = [case.label.step for case, mine in zip(cases, inside, strict=True) if mine and case.label]
        f1, none, step = metrics.best_mixture(places)
        cells.append(f"{f1:.3f} (step {step}, none {none:.0%})")
    shown.add_row("best mixture", *cells)
    for name, values in right.items():
        shown.add_row(name, *(figures(values[inside], sound[inside]) for inside in groups.values()))
    console.print(shown)
    less = Table("family", *heads, title=f"F1 less that of {AGAINST}")
    for name, values in right.items():
        if name != AGAINST:
            pairs = [(values[i], right[AGAINST][i], sound[i]) for i in groups.values()]
            less.add_row(name, *(estimate(metrics.paired_f1(*pair, 0)) for pair in pairs))
    console.print(less)


def figures(right: Floats, sound: np.typing.NDArray[np.bool_]) -> str:
    """F1 with its interval, and the two accuracies."""
    f1, wrong, alone = metrics.solutions(right, sound, 0)
    return f"{estimate(f1)} ({wrong.value:.0%}, {alone.value:.0%})"


def estimate(one: Estimate) -> str:
    """A figure with its interval."""
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


if __name__ == "__main__":
    typer.run(main)
