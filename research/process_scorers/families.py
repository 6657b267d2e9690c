"""The checkers of solutions by name, each made of the process scores that it reads.

Model and tokenizer are the configuration's; nothing is loaded before a case is judged or learned from. What one
family has measured of a solution, the next one takes over.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest, file_digest
from apportion.pipeline.engines.base import Engine
from apportion.pipeline.engines.checkpoints import fingerprint, resolve_model
from apportion.pipeline.trajectory.case import Case
from research.process_scorers import trained, value_drop
from research.process_scorers.named import OUTLINE, SUMS
from research.process_scorers.ranked import Floats, ProcessChecker, Signals, checker
from research.process_scorers.reading import Reader
from research.process_scorers.spoilt import examples
from research.process_scorers.trained import ProcessModel

ALL = sys.maxsize
"""At once: the process model starts anew for every chunk."""


@dataclass(frozen=True)
class Sources:
    """What the families are made from."""

    config: Config
    plant: Path | None = None
    """Solutions in GSM8K's format, in which errors are planted to train the process model."""
    solutions: int = 200
    """How many of them: each is an example with an error and one without."""
    keep: Path | None = None
    """A folder in which measured signals are kept; without one they last as long as the families."""

    def model(self) -> Path:
        """The folder of the language model."""
        model = self.config.model
        return resolve_model(model.path, data_root=self.config.data_root, hub=model.hub)

    def engine(self) -> Engine:
        """The running engine over it."""
        from apportion.pipeline.engines import running

        return running.engine_for(self.config.model, self.config.data_root)

    def process_model(self) -> Path:
        """The trained process model, made at the first need and found again under a digest of what it was made from.

        Raises UserError where there are no solutions to plant errors in.
        """
        if self.plant is None:
            raise UserError("`trained` learns from planted errors: give solutions of GSM8K (--plant train.jsonl)")
        base = self.model()
        made_from = [fingerprint(base), file_digest(self.plant), self.solutions, trained.SETTINGS]
        target = self.config.data_root / "models" / f"process-{digest(made_from)}"
        if not (target / "config.json").is_file():
            trained.train(base, examples(self.plant, self.solutions), target)
        return target

    def file(self, name: str, model: Callable[[], Path] | None = None) -> Callable[[], Path] | None:
        """Where a signal is kept: its file is named after the model that it asks."""
        keep = self.keep
        if keep is None:
            return None
        return lambda: keep / f"{name}-{fingerprint((model or self.model)())[0]}.npz"


def families(sources: Sources) -> dict[str, ProcessChecker]:
    """By name, cheap ones first; from value_drop on they need the model."""
    value = Signals(lambda cases: _values(sources, cases), sources.file("value"))
    models = _Loaded(sources)
    surprise = Signals(models.surprise, sources.file("surprise"))
    process = Signals(models.process, sources.file("trained", sources.process_model), chunk=ALL)
    ours = (OUTLINE, SUMS, value, surprise)
    return {
        "arithmetic": checker(SUMS),
        "structure and arithmetic": checker(OUTLINE, SUMS),
        "value_drop": checker(value),
        "surprise": checker(surprise),
        "trained": checker(process),
        "ranked": checker(*ours),
        "ranked with trained": checker(*ours, process),
    }


def _values(sources: Sources, cases: Sequence[Case]) -> dict[str, Floats]:
    from apportion.pipeline.core.progress import watcher

    done = watcher().start("answers after every step", sum(len(case.steps) + 1 for case in cases))
    return value_drop.value_drop(cases, sources.engine(), done)


class _Loaded:
    """Models that read a solution once, loaded at the first need."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self._sources.model())

    @cached_property
    def _process(self) -> ProcessModel:
        return ProcessModel(self._sources.process_model())

    def surprise(self, cases: Sequence[Case]) -> dict[str, Floats]:
        """What the solutions cost the language model."""
        from apportion.pipeline.core.progress import watcher

        return self._reader.read(cases, watcher().start("solutions read", len(cases)))

    def process(self, cases: Sequence[Case]) -> dict[str, Floats]:
        """What the process model says."""
        from apportion.pipeline.core.progress import watcher

        done = watcher().start("solutions scored", len(cases))
        scores = self._process.scores(cases, done)
        return {name: trained.columns(score) for name, score in scores.items()}
