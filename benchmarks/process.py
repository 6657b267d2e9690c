"""ProcessBench: is the first wrong step of a solution found, and a right solution left alone?

    .venv/bin/python benchmarks/process.py --bench FOLDER --gsm8k FOLDER [--model data/models/...] [--keep FOLDER]

FOLDER holds ProcessBench's gsm8k.jsonl and math.jsonl; --gsm8k a train.jsonl of GSM8K, in whose solutions errors are
planted to train a process model. Every family is fitted by cross-validation over problems (5 folds) inside each subset;
`trained` adds the planted solutions to each training fold. Printed for each family and subset: the share of wrong
solutions whose first wrong step is named, of right ones in which none is named, their harmonic mean F1 (the benchmark's
own figure) with a 95 % bootstrap interval over problems, and beside it the floor: the best that can be had without
reading anything, a mixture of "none" and a constant step, with the share and the step chosen on the test cases.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pipeline.config import ModelConfig
from pipeline.localize.case import Case, Label, Step
from pipeline.localize.process import arithmetic, reading, trained, value_drop
from pipeline.localize.process.planted import SOLVER, planted, sound
from pipeline.localize.process.ranked import RankedProcess
from pipeline.localize.process.trained import first_wrong
from pipeline.localize.structure import structure
from pipeline.quiet import hush

Floats = NDArray[np.float64]
FOLDS = 5
DRAWS = 10_000
console = Console(width=140)


def main(
    bench: Path,
    gsm8k: Path,
    keep: Path,
    data: Path = Path("data"),
    solutions: Annotated[int, typer.Option(help="GSM8K solutions with a planted error, and as many without.")] = 300,
    only: Annotated[str, typer.Option(help="Make the signals of one kind and stop: reading or value.")] = "",
) -> None:
    """Measure the families on both subsets."""
    hush(data)
    keep.mkdir(parents=True, exist_ok=True)
    subsets = {name: load(bench / f"{name}.jsonl") for name in ("gsm8k", "math")}
    artificial = plant(gsm8k / "train.jsonl", solutions)
    every = [*(case for cases in subsets.values() for case in cases), *artificial]
    surprise, states = read(data, every, keep) if only in ("", "reading") else ({}, {})
    values = value(data, every[: -len(artificial)], keep) if only in ("", "value") else {}
    if only:
        return
    for name, cases in subsets.items():
        report(name, cases, artificial, surprise, states, values)


def report(
    name: str, cases: list[Case], artificial: list[Case], surprise: Mapping[str, Floats],
    states: Mapping[str, Floats], values: Mapping[str, Floats],
) -> None:  # fmt: skip
    """One subset's table."""
    outline = {case.case_id: shape(case) for case in cases}
    sums = {case.case_id: arithmetic.arithmetic(case) for case in cases}
    families: dict[str, list[Mapping[str, Floats]]] = {
        "structure": [outline],
        "arithmetic": [sums],
        "value_drop": [values],
        "surprise": [surprise],
        "all four": [outline, sums, values, surprise],
    }
    results = {family: crossed(cases, parts, [], states) for family, parts in families.items()}
    results["trained: planted only"] = crossed(cases, [], artificial, states, own=False)
    results["trained: folds"] = crossed(cases, [], [], states)
    results["trained: folds and planted"] = crossed(cases, [], artificial, states)
    results["all, with trained"] = crossed(cases, families["all four"], artificial, states, head=True)
    shown = Table("family", "wrong found", "right left alone", "F1", title=f"{name}: {len(cases)} solutions")
    for family, guesses in results.items():
        add(shown, family, cases, guesses)
    share, step, f1 = floor(cases)
    shown.add_row(f"floor: none in {share:.0%}, else step {step}", "", "", f"{f1:.3f}")
    console.print(shown)


def crossed(
    cases: Sequence[Case], parts: Sequence[Mapping[str, Floats]], artificial: Sequence[Case],
    states: Mapping[str, Floats], *, own: bool = True, head: bool = False,
) -> list[int | None]:  # fmt: skip
    """The place named in each case by a ranker fitted on other problems; without `parts` over the head's score.

    The head's scores of training cases come from folds inside the training cases.
    """
    fold = folds_of(cases, "outer")
    guesses: dict[str, int | None] = {}
    for one in range(FOLDS):
        train = [case for case in cases if fold[case.question_id] != one]
        test = [case for case in cases if fold[case.question_id] == one]
        columns: list[Mapping[str, Floats]] = list(parts)
        if head or not parts:
            columns.append(headed(train, test, artificial, states, own))
        signals = {case.case_id: np.concatenate([part[case.case_id] for part in columns], axis=1) for case in cases}
        fitted = RankedProcess(signals).fit(train)
        for case, verdict in zip(test, fitted.judge(test), strict=True):
            guesses[case.case_id] = verdict.first_wrong
    return [guesses[case.case_id] for case in cases]


def headed(
    train: Sequence[Case], test: Sequence[Case], artificial: Sequence[Case], states: Mapping[str, Floats], own: bool
) -> dict[str, Floats]:
    """Columns of the head: log-odds, largest flag, and the same against the case's mean."""
    scores: dict[str, Floats] = {}
    if own:
        inner = folds_of(train, "inner")
        for one in range(FOLDS):
            rest = [case for case in train if inner[case.question_id] != one]
            fitted = trained.fit([*rest, *artificial], states)
            held = [case for case in train if inner[case.question_id] == one]
            scores |= {case.case_id: fitted.score(states[case.case_id]) for case in held}
        fitted = trained.fit([*train, *artificial], states)
        scores |= {case.case_id: fitted.score(states[case.case_id]) for case in test}
    else:
        fitted = trained.fit(artificial, states)
        scores = {case.case_id: fitted.score(states[case.case_id]) for case in [*train, *test]}
    return {name: head_columns(score) for name, score in scores.items()}


def head_columns(score: Floats) -> Floats:
    """The score, its rise over the step before, the largest so far, and a flag on the first that is above 0."""
    before = np.concatenate([[score[0]], score[:-1]])
    top = np.arange(len(score)) == int(score.argmax())
    first = np.zeros(len(score))
    if (score > 0).any():
        first[int((score > 0).argmax())] = 1.0
    return np.column_stack([score, score - before, score - score.mean(), top, first]).astype(float)


def shape(case: Case) -> Floats:
    """The structure's columns that differ within one speaker's solution."""
    names, x = structure(case)
    wanted = ("start", "end", "place", "place²", "first", "second", "last", "length", "length_in_log", "longest")
    return x[:, [names.index(name) for name in wanted]]


def folds_of(cases: Sequence[Case], key: str) -> dict[str, int]:
    """The fold of each problem."""
    questions = sorted({case.question_id for case in cases})
    random.Random(key).shuffle(questions)
    return {question: place % FOLDS for place, question in enumerate(questions)}


def add(table: Table, name: str, cases: Sequence[Case], guesses: Sequence[int | None]) -> None:
    """A row: both shares and F1 with its interval."""
    right = np.array([guess == first_wrong(case) for case, guess in zip(cases, guesses, strict=True)], dtype=float)
    fine = np.array([case.sound for case in cases])
    questions = sorted({case.question_id for case in cases})
    place = np.array([questions.index(case.question_id) for case in cases])
    sums = np.stack([np.bincount(place, w, len(questions)) for w in (right * ~fine, ~fine, right * fine, fine)])
    drawn = np.random.default_rng(0).multinomial(len(questions), [1 / len(questions)] * len(questions), DRAWS) @ sums.T
    hit, clear = drawn[:, 0] / drawn[:, 1], drawn[:, 2] / drawn[:, 3]
    low, high = np.percentile(harmonic(hit, clear), [2.5, 97.5])
    found, alone = right[~fine].mean(), right[fine].mean()
    f1 = harmonic(np.array(found), np.array(alone))
    table.add_row(name, f"{found:.3f}", f"{alone:.3f}", f"{f1:.3f} [{low:.3f}, {high:.3f}]")


def harmonic(one: Floats, two: Floats) -> Floats:
    """2ab / (a + b), 0 where both are 0."""
    return np.asarray(2 * one * two / np.maximum(one + two, 1e-12))


def floor(cases: Sequence[Case]) -> tuple[float, int, float]:
    """Share of "none", the constant step and the F1 of the best mixture: F1 = 2qc(1-q) / (q + c(1-q)), best in q."""
    wrong = [first_wrong(case) for case in cases if not case.sound]
    counts = np.bincount([place for place in wrong if place is not None])
    step, c = int(counts.argmax()), float(counts.max() / len(wrong))
    q = np.sqrt(c) / (1 + np.sqrt(c))
    return float(q), step, float(2 * q * c * (1 - q) / (q + c * (1 - q)))


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
