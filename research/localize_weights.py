"""Train the weights that the localizer `learned` ships, on labelled Who&When logs, and cross-validate them.

    python -m research.localize_weights PATH [--seeds 3] [--dry-run] [--scorer CACHE]

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import PrivateAttr

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.ids import digest
from apportion.pipeline.core.libraries import hush
from apportion.pipeline.engines import running
from apportion.pipeline.engines.checkpoints import fingerprint, resolve_dtype, resolve_model
from apportion.pipeline.evaluation.folds import by_fold, cross_validate, folds_by_question
from apportion.pipeline.evaluation.labelled import read
from apportion.pipeline.evaluation.metrics import FIGURES, marks, paired
from apportion.pipeline.localizers.base import TEXT_ONLY, Localizer, Means, Verdict, fitted
from apportion.pipeline.localizers.learned import WEIGHTS, StepRanker, options_of
from apportion.pipeline.localizers.signals import TEXT
from apportion.pipeline.localizers.signals.base import Signal
from apportion.pipeline.localizers.structure import Speakers, Structure
from apportion.pipeline.trajectory.case import Case
from research.features import Features
from research.signals import SCORED
from research.signals.scored import ScoredSignal
from research.weights import save, with_folds

Floats = NDArray[np.float64]
ALL = "all"
MRR = FIGURES.index("MRR")


class StructureAnd(Structure):
    """The outline's ranker with further signals of each step."""

    _features: Features = PrivateAttr(default_factory=lambda: Features(()))

    def columns(self, case: Case, speakers: Speakers) -> Floats:
        return np.concatenate([super().columns(case, speakers), self._features.of([case])[0]], axis=1)


class Ranked(Localizer):
    """A ranker over steps on any signals."""

    _ranker: StepRanker = PrivateAttr(default_factory=lambda: StepRanker(Features(())))

    @property
    def ranker(self) -> StepRanker:
        return self._ranker

    def fit(self, cases: Sequence[Case], means: Means = TEXT_ONLY) -> Ranked:
        return fitted(self, _ranker=self._ranker.fit(cases))

    def judge(self, cases: Sequence[Case], means: Means = TEXT_ONLY) -> list[Verdict]:
        return self._ranker.judge(cases)


def ranked(features: Features) -> Ranked:
    """Not fitted yet."""
    return fitted(Ranked(), _ranker=StepRanker(features))


@dataclass(frozen=True)
class Chosen:
    """Of some rankers the one under which the labelled steps of inner folds are likeliest."""

    among: Mapping[str, Ranked]
    chosen: list[str] = field(default_factory=list)
    """Names of those that were chosen, one a fit."""

    def fit(self, cases: Sequence[Case], means: Means) -> Localizer:
        best = max(self.among, key=lambda name: self._likelihood(self.among[name].ranker, cases))
        self.chosen.append(best)
        return self.among[best].fit(cases)

    def _likelihood(self, one: StepRanker, cases: Sequence[Case]) -> float:
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
    learned = ranked(features)
    rows: dict[str, Localizer | Chosen] = {"structure": Structure(), "learned": learned}
    if args.scorer:
        features = _scored(args.scorer, args.without_reference)
        start = time.monotonic()
        features.of(cases)
        if features.computed:
            seconds, cut = time.monotonic() - start, features.cut_share(cases)
            print(f"scored {features.computed:,} tokens in {seconds:.0f} s; {cut:.0%} of the text is cut")
        rows |= _with_scorer(features)
    sources = np.array([case.source for case in cases])
    figures: dict[str, dict[str, float]] = {}
    ranks = {}
    for row, localizer in rows.items():
        table = repeated(localizer, cases, args.seeds)
        ranks[row] = table[:, MRR]
        for kind in (*sorted(set(sources)), ALL):
            mean = table[(sources == kind) | (kind == ALL)].mean(0)
            print(f"{row:26s} {kind:20s}", *(f"{n} {v:.3f}" for n, v in zip(FIGURES, mean, strict=True)))
            if localizer is learned:
                figures[kind] = {name: round(float(v), 4) for name, v in zip(FIGURES, mean, strict=True)}
        if isinstance(localizer, Chosen):
            print(*(f"{name}: {localizer.chosen.count(name)}" for name in sorted(set(localizer.chosen))), sep=", ")
    for line in differences(ranks, sources):
        print(line)
    if not args.dry_run and not args.scorer:
        done = with_folds(learned.fit(cases).ranker, cases, folds_by_question(cases))
        save(done, WEIGHTS, figures)
        print(f"wrote {WEIGHTS}")


def repeated(localizer: Localizer | Chosen, cases: Sequence[Case], seeds: int) -> Floats:
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


def _with_scorer(scored: Features) -> dict[str, Localizer | Chosen]:
    """Rows with every signal of the scorer and with all of them, beside the outline and beside the text."""
    asked = [signal for signal in scored.signals if isinstance(signal, ScoredSignal)]
    sets: dict[str, tuple[Signal | ScoredSignal, ...]] = {signal.name: (signal,) for signal in asked}
    sets |= {ALL: tuple(asked)}
    learned = {f"learned + {name}": ranked(replace(scored, signals=(*TEXT, *few))) for name, few in sets.items()}
    structure = {
        f"structure + {name}": fitted(StructureAnd(), _features=replace(scored, signals=few))
        for name, few in sets.items()
    }
    plain = ranked(replace(scored, signals=TEXT))
    return structure | learned | {"learned + chosen inside": Chosen({"learned": plain} | learned)}


def _scored(cache: Path, without_reference: bool) -> Features:
    """All signals, by the model that `apportion` takes by default."""
    config = Config()
    model = resolve_model(config.model.path, data_root=config.data_root)
    weights, tokenizer = fingerprint(model)
    signals = (*TEXT, *(signal for signal in SCORED if not (without_reference and signal.needs_reference)))
    mark = digest([weights, tokenizer, resolve_dtype(config.model.dtype)])
    return Features(signals, lambda: running.engine_for(config.model, config.data_root), mark, cache)


if __name__ == "__main__":
    main()
