"""Train the weights that `pipeline.localize.learned` ships, on labelled Who&When logs, and cross-validate them.

    python benchmarks/localize_weights.py PATH [--seeds 3] [--dry-run] [--scorer CACHE [--without-reference]]

Prints, for the outline alone and for the learned localizer, the figures over repeated folds by question, and the paired
difference of the reciprocal ranks; then writes the weights of all logs with these figures. --dry-run writes nothing.

--scorer adds the signals that ask a model (the default one of `apportion`), kept in the folder CACHE, as a row of its
own; it never writes weights. Scoring costs some 600,000 tokens.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from pipeline.config import Config
from pipeline.ids import digest
from pipeline.localize.features import Features
from pipeline.localize.folds import cross_validate, folds_by_question
from pipeline.localize.learned import WEIGHTS, Learned
from pipeline.localize.metrics import FIGURES, marks, paired
from pipeline.localize.outline import StructureRanker
from pipeline.localize.signals import SCORED, TEXT
from pipeline.models import fingerprint, resolve_dtype, resolve_model
from pipeline.stages.common import engine_for
from pipeline.stages.evaluate import read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--scorer", type=Path, metavar="CACHE")
    parser.add_argument("--without-reference", action="store_true")
    args = parser.parse_args()
    cases = read("who-and-when", args.path).cases
    learned = Learned(Features(TEXT))
    rows = [StructureRanker(), learned]
    if args.scorer:
        features = _scored(args.scorer, args.without_reference)
        start = time.monotonic()
        features.of(cases)
        seconds, cut = time.monotonic() - start, features.cut_share(cases)
        print(f"scored {features.computed:,} tokens in {seconds:.0f} s; {cut:.0%} of the text is cut")
        rows.append(Learned(features, name="learned+lm"))
    sources = np.array([case.source for case in cases])
    figures: dict[str, dict[str, float]] = {}
    ranks = {}
    for localizer in rows:
        tables = []
        for seed in range(args.seeds):
            folds = folds_by_question(cases, seed=seed)
            tables.append(marks(cases, cross_validate(localizer, cases, folds)))
        table = np.mean(tables, axis=0)
        ranks[localizer.name] = table[:, FIGURES.index("MRR")]
        for kind in (*sorted(set(sources)), "all"):
            mean = table[(sources == kind) | (kind == "all")].mean(0)
            print(f"{localizer.name:10s} {kind:22s}", *(f"{n} {v:.3f}" for n, v in zip(FIGURES, mean, strict=True)))
            if localizer is learned:
                figures[kind] = {name: round(float(v), 4) for name, v in zip(FIGURES, mean, strict=True)}
    for one, other in (("learned", "structure"), ("learned+lm", "learned")):
        if one in ranks:
            gain = paired(ranks[one], ranks[other], seed=0)
            print(f"MRR, {one} less {other}: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
    if not args.dry_run and not args.scorer:
        done = learned.fit(cases)
        Learned(done.features, done.steps, done.agents, done.trained_on, figures).save(WEIGHTS)
        print(f"wrote {WEIGHTS}")


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
