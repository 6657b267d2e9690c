"""Train the weights that `pipeline.localize.learned` ships, on labelled Who&When logs, and cross-validate them.

    python benchmarks/localize_weights.py PATH [--seeds 3] [--dry-run]

Prints, for the outline alone and for the learned localizer, the figures over repeated folds by question, and the paired
difference of the reciprocal ranks; then writes the weights of all logs with these figures. --dry-run writes nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pipeline.localize.features import Features
from pipeline.localize.folds import cross_validate, folds_by_question
from pipeline.localize.learned import WEIGHTS, Learned
from pipeline.localize.metrics import FIGURES, marks, paired
from pipeline.localize.outline import StructureRanker
from pipeline.localize.signals import TEXT
from pipeline.stages.evaluate import read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    cases = read("who-and-when", args.path).cases
    learned = Learned(Features(TEXT))
    sources = np.array([case.source for case in cases])
    figures: dict[str, dict[str, float]] = {}
    ranks = {}
    for localizer in (StructureRanker(), learned):
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
    gain = paired(ranks["learned"], ranks["structure"], seed=0)
    print(f"MRR, learned less structure: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
    if not args.dry_run:
        done = learned.fit(cases)
        Learned(done.features, done.steps, done.agents, done.trained_on, figures).save(WEIGHTS)
        print(f"wrote {WEIGHTS}")


if __name__ == "__main__":
    main()
