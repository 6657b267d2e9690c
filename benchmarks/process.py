"""ProcessBench: is the first wrong step of a solution found, and a right solution left alone?

    .venv/bin/python benchmarks/process.py --bench FOLDER --gsm8k FOLDER [--model data/models/...] [--keep FOLDER]

FOLDER holds ProcessBench's gsm8k.jsonl and math.jsonl; --gsm8k a train.jsonl of GSM8K, in whose solutions errors are
planted to train a process model. Every family is fitted by cross-validation over the problems of both (10 folds);
`trained` adds the planted solutions to each training fold. Printed for each family and subset: the share of wrong
solutions whose first wrong step is named, of right ones in which none is named, their harmonic mean F1 (the benchmark's
own figure) with a 95 % bootstrap interval over problems, and beside it the floor: the best that can be had without
reading anything, a mixture of "none" and a constant step, chosen on the very labels that it is held to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pipeline.config import ModelConfig
from pipeline.localize import metrics
from pipeline.localize.base import Localizer
from pipeline.localize.case import Case, Label, Step
from pipeline.localize.folds import cross_validate, folds_by_question
from pipeline.localize.outline import StructureChecker, UniformChecker
from pipeline.localize.process import arithmetic, reading, value_drop
from pipeline.localize.process.planted import SOLVER, planted, sound
from pipeline.localize.process.ranked import ProcessChecker, Signals
from pipeline.localize.structure import structure
from pipeline.quiet import hush

Floats = NDArray[np.float64]
FOLDS = 10
console = Console(width=140)


def main(
    bench: Path,
    gsm8k: Path,
    keep: Path,
    data: Path = Path("data"),
    solutions: Annotated[int, typer.Option(help="GSM8K solutions with a planted error, and as many without.")] = 300,
    only: Annotated[
        str, typer.Option(help="Make the signals of one kind and stop: reading, value, or none: report what is kept.")
    ] = "",
) -> None:
    """Measure the families on both subsets."""
    hush(data)
    keep.mkdir(parents=True, exist_ok=True)
    subsets = {name: load(bench / f"{name}.jsonl") for name in ("gsm8k", "math")}
    artificial = plant(gsm8k / "train.jsonl", solutions)
    every = [*(case for cases in subsets.values() for case in cases), *artificial]
    own = every[: len(every) - len(artificial)]
    surprise, states = (
        read(data, every, keep) if only in ("", "reading") else (kept(keep, "surprise"), kept(keep, "states"))
    )
    values = value(data, own, keep) if only in ("", "value") else kept(keep, "values")
    if only not in ("", "none"):
        return
    report([case for cases in subsets.values() for case in cases], artificial, surprise, states, values)


def report(
    cases: list[Case], artificial: list[Case], surprise: Mapping[str, Floats], states: Mapping[str, Floats],
    values: Mapping[str, Floats],
) -> None:  # fmt: skip
    """The table of every family."""
    outline = Signals(lambda some: {case.case_id: structure(case)[1] for case in some})
    sums = Signals(lambda some: {case.case_id: arithmetic.arithmetic(case) for case in some})
    value, surprised, hidden = (Signals(lambda some: {}, dict(one)) for one in (values, surprise, states))
    wrong = tuple(artificial)
    families: list[Localizer] = [
        UniformChecker(),
        StructureChecker(),
        ProcessChecker("arithmetic", (sums,)),
        ProcessChecker("structure and arithmetic", (outline, sums)),
    ]
    if values:
        families.append(ProcessChecker("value_drop", (value,)))
    if surprise:
        families += [
            ProcessChecker("surprise", (surprised,)),
            ProcessChecker("trained: folds", (), hidden),
            ProcessChecker("trained: folds and planted", (), hidden, wrong),
            ProcessChecker("structure, arithmetic, surprise", (outline, sums, surprised)),
        ]
    if values and surprise:
        four = (outline, sums, value, surprised)
        families += [ProcessChecker("all four", four), ProcessChecker("all, with trained", four, hidden, wrong)]
    folds = folds_by_question(cases, FOLDS)
    sources = sorted({case.source for case in cases})
    shown = Table("family", *(f"{source}: {what}" for source in sources for what in ("wrong", "right", "F1")))
    for family in families:
        right = metrics.right_answers(cases, cross_validate(family, cases, folds))
        cells: list[str] = []
        for source in sources:
            mine = np.array([case.source == source for case in cases])
            sound = np.array([case.sound for case in cases])[mine]
            f1, *both = metrics.solutions(right[mine], sound, 0)
            cells += [f"{both[0].value:.3f}", f"{both[1].value:.3f}"]
            cells.append(f"{f1.value:.3f} [{f1.low:.3f}, {f1.high:.3f}]")
        shown.add_row(family.name, *cells)
    floors: list[str] = []
    for source in sources:
        places = [case.label.step for case in cases if case.source == source and case.label]
        f1, share, step = metrics.best_mixture(places)
        floors += [f"step {step}", f"none {share:.0%}", f"{f1:.3f}"]
    shown.add_row("best mixture (floor)", *floors)
    console.print(shown)


def load(path: Path) -> list[Case]:
    """A file of ProcessBench as cases."""
    cases = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        steps = tuple(Step(i, SOLVER, "assistant", None, text) for i, text in enumerate(row["steps"]))
        label = None if row["label"] < 0 else Label(row["label"], SOLVER)
        cases.append(Case(row["id"], row["problem"], None, None, steps, path.stem, label, sound=label is None))
    return cases


def plant(path: Path, count: int) -> list[Case]:
    """Solutions of GSM8K, each once as it is and once with an error."""
    made: list[Case] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        wrong = planted(row["question"], row["answer"])
        if wrong is not None and len(wrong.steps) > 2:
            made += [sound(row["question"], row["answer"]), wrong]
        if len(made) >= 2 * count:
            break
    return made


def read(data: Path, cases: Sequence[Case], keep: Path) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Surprise and hidden states of each case, kept in a file as they come."""
    from pipeline.models import resolve_model

    surprise, states = kept(keep, "surprise"), kept(keep, "states")
    missing = [case for case in cases if case.case_id not in states]
    reader = reading.Reader(resolve_model(ModelConfig().path, data_root=data, hub=False)) if missing else None
    for start in range(0, len(missing), 50):
        assert reader is not None
        for name, one in reader.read(missing[start : start + 50]).items():
            surprise[name], states[name] = one.surprise, one.states.astype(np.float32)
        console.print(f"read {start + len(missing[start : start + 50])} of {len(missing)}")
        np.savez(keep / "surprise.npz", **surprise)  # type: ignore[arg-type]
        np.savez(keep / "states.npz", **states)  # type: ignore[arg-type]
    return surprise, states


def value(data: Path, cases: Sequence[Case], keep: Path) -> dict[str, Floats]:
    """value_drop of each case, kept in a file."""
    from pipeline.stages.common import engine_for

    values = kept(keep, "values")
    missing = [case for case in cases if case.case_id not in values]
    for start in range(0, len(missing), 50):
        values |= value_drop.value_drop(missing[start : start + 50], engine_for(ModelConfig(), data))
        console.print(f"valued {start + len(missing[start : start + 50])} of {len(missing)}")
        np.savez(keep / "values.npz", **values)  # type: ignore[arg-type]
    return values


def kept(folder: Path, name: str) -> dict[str, Floats]:
    """What an earlier run left."""
    path = folder / f"{name}.npz"
    if not path.exists():
        return {}
    with np.load(path) as found:
        return {key: found[key] for key in found.files}


if __name__ == "__main__":
    typer.run(main)
