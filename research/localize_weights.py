"""Train the weights that `pipeline.localize.learned` ships, on labelled Who&When logs, and cross-validate them.

    python benchmarks/localize_weights.py PATH [--seeds 3] [--dry-run] [--scorer CACHE [--without-reference]]

Prints, for the outline alone and for the learned localizer, the figures over repeated folds by question, and the paired
differences of the reciprocal ranks; then writes the weights of all logs with these figures, those of ten folds for the
questions of these logs, and what the logs are like. --dry-run writes nothing.

--scorer asks what the signals of a model (the default one of `apportion`) add, each alone and all together, to the
outline and to the text, and what a choice among them by inner folds does. It never writes weights. Scoring takes
some 40 minutes on 2 slow cores, once; what has been scored is kept in the folder CACHE.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pipeline.config import Config
from pipeline.ids import digest
from pipeline.localize.base import Localizer, Verdict
from pipeline.localize.case import Case
from pipeline.localize.features import Features
from pipeline.localize.folds import by_fold, cross_validate, folds_by_question
from pipeline.localize.learned import WEIGHTS, Learned, options_of
from pipeline.localize.metrics import FIGURES, marks, paired
from pipeline.localize.outline import StructureRanker
from pipeline.localize.signals import SCORED, TEXT
from pipeline.localize.signals.base import Signal
from pipeline.localize.structure import Speakers
from pipeline.models import fingerprint, resolve_dtype, resolve_model
from pipeline.quiet import hush

from pipeline.stages.common import engine_for
from pipeline.stages.evaluate import read

Floats = NDArray[np.float64]
ALL = "all"
MRR = FIGURES.index("MRR")


@dataclass(frozen=True)
class StructureAnd(StructureRanker):
    """The outline's ranker with further signals of each step."""

    features: Features = field(default_factory=lambda: Features(()))

    def columns(self, case: Case, speakers: Speakers) -> Floats:
        return np.concatenate([super().columns(case, speakers), self.features.of([case])[0]], axis=1)


@dataclass(frozen=True)
class Chosen:
    """Of some learned localizers the one under which the labelled steps of inner folds are likeliest."""

    among: Sequence[Learned]
    name: str
    chosen: list[str] = field(default_factory=list)
    """Names of those that were chosen, one a fit."""

    def fit(self, cases: Sequence[Case]) -> Localizer:
        best = max(self.among, key=lambda one: self._likelihood(one, cases))
        self.chosen.append(best.name)
        return best.fit(cases)

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        raise ValueError("nothing has been chosen yet")

    def _likelihood(self, one: Learned, cases: Sequence[Case]) -> float:
        options = [options_of(case, x) for case, x in zip(cases, one.features.of(cases), strict=True)]
        at = {case.case_id: options[i] for i, case in enumerate(cases)}

        def judge(train: Sequence[Case], held_out: Sequence[Case]) -> list[float]:
            ranker = one.fit_steps([at[case.case_id] for case in train])
            asked = [at[case.case_id] for case in held_out]
            return [float(ranker.log_p(each.x)[each.chosen]) if each.chosen is not None else 0.0 for each in asked]

        return sum(by_fold(cases, folds_by_question(cases, 5), judge))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--scorer", type=Path, metavar="CACHE")
    parser.add_argument("--without-reference", action="store_true")
    args = parser.parse_args()
    hush(Config().data_root)
    cases = read("who-and-when", args.path).cases
    features = Features(TEXT, cache=args.scorer)
    learned = Learned(features)
    rows: list[Localizer] = [StructureRanker(), learned]
    if args.scorer:
        features = _scored(args.scorer, args.without_reference)
        start = time.monotonic()
        features.of(cases)
        if features.computed:
            seconds, cut = time.monotonic() - start, features.cut_share(cases)
            print(f"scored {features.computed:,} tokens in {seconds:.0f} s; {cut:.0%} of the text is cut")
        rows += _with_scorer(features)
    sources = np.array([case.source for case in cases])
    figures: dict[str, dict[str, float]] = {}
    ranks = {}
    for localizer in rows:
        table = repeated(localizer, cases, args.seeds)
        ranks[localizer.name] = table[:, MRR]
        for kind in (*sorted(set(sources)), ALL):
            mean = table[(sources == kind) | (kind == ALL)].mean(0)
            print(f"{localizer.name:26s} {kind:20s}", *(f"{n} {v:.3f}" for n, v in zip(FIGURES, mean, strict=True)))
            if localizer is learned:
                figures[kind] = {name: round(float(v), 4) for name, v in zip(FIGURES, mean, strict=True)}
        if isinstance(localizer, Chosen):
            print(*(f"{name}: {localizer.chosen.count(name)}" for name in sorted(set(localizer.chosen))), sep=", ")
    for line in differences(ranks, sources):
        print(line)
    if not args.dry_run and not args.scorer:
        done = learned.fit(cases).with_folds(cases, folds_by_question(cases))
        replace(done, figures=figures).save(WEIGHTS)
        print(f"wrote {WEIGHTS}")


def repeated(localizer: Localizer, cases: Sequence[Case], seeds: int) -> Floats:
    """The figures of every case, mean over `seeds` draws of ten folds: shape (cases, figures)."""
    draws = (folds_by_question(cases, seed=seed) for seed in range(seeds))
    return np.asarray(np.mean([marks(cases, cross_validate(localizer, cases, folds)) for folds in draws], axis=0))


def differences(ranks: dict[str, Floats], sources: NDArray[np.str_]) -> Iterator[str]:
    """MRR of every row less that of the outline and less that of the text, with paired bootstrap intervals."""
    for base in ("structure", "learned"):
        for name, values in ranks.items():
            if name in (base, "structure"):
                continue
            for kind in (*sorted(set(sources.tolist())), ALL):
                mask = (sources == kind) | (kind == ALL)
                gain = paired(values[mask], ranks[base][mask], seed=0)
                what = f"MRR, {name} less {base}"
                yield f"{what:46s} {kind:20s} {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def _with_scorer(scored: Features) -> list[Localizer]:
    """Rows with every signal of the scorer and with all of them, beside the outline and beside the text."""
    asked = [signal for signal in scored.signals if signal.needs_model]
    sets: dict[str, tuple[Signal, ...]] = {signal.name: (signal,) for signal in asked} | {ALL: tuple(asked)}
    learned = [Learned(replace(scored, signals=(*TEXT, *few)), name=f"learned + {name}") for name, few in sets.items()]
    structure = [
        StructureAnd(name=f"structure + {name}", features=replace(scored, signals=few)) for name, few in sets.items()
    ]
    plain = Learned(replace(scored, signals=TEXT))
    return [*structure, *learned, Chosen((plain, *learned), "learned + chosen inside")]


def _scored(cache: Path, without_reference: bool) -> Features:
    """All signals, by the model that `apportion` takes by default."""
    config = Config()
    model = resolve_model(config.model.path, data_root=config.data_root)
    weights, tokenizer = fingerprint(model)
    signals = (*TEXT, *(signal for signal in SCORED if not (without_reference and signal.needs_reference)))
    mark = digest([weights, tokenizer, resolve_dtype(config.model.dtype)])
    return Features(signals, lambda: engine_for(config.model, config.data_root), mark, cache)


if __name__ == "__main__":
    main()
