"""All signals of all cases as one array a case, kept as Parquet, a file for every signal.

The file is named after the signal and a digest of its version, the scorer's fingerprint and the window; its rows are
one a step, by a digest of the case without its labels. What is on file is not computed again, a few cases are computed
and filed at a time, and where nothing is missing the scorer is not even started.

Cost: what the signals cost; all requests of a case go through one `engine.score`, which computes equal requests and
shared prefixes once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest
from apportion.pipeline.engines.base import Engine, Progress
from apportion.pipeline.localizers.signals.base import Features as TextFeatures
from apportion.pipeline.localizers.signals.base import Signal
from apportion.pipeline.trajectory.case import Case
from research.signals.scored import ScoredSignal
from research.signals.window import BUDGET, view_of

Floats = NDArray[np.float64]
BATCH = 8
"""Cases that a scorer is asked about at a time: what has been filed when it is stopped is not lost."""


@dataclass
class Features(TextFeatures):
    """Signals over cases. `engine` starts the scorer, at the first need; `fingerprint` is what it will answer to.

    `cache` is a folder for the Parquet files; without one the numbers last as long as the object.
    """

    signals: tuple[Signal | ScoredSignal, ...]
    engine: Callable[[], Engine] | None = None
    fingerprint: str = ""
    cache: Path | None = None
    progress: Progress | None = None
    computed: int = 0
    """Tokens that the scorer has computed so far."""
    _known: dict[str, dict[str, Floats]] = field(default_factory=dict, repr=False)
    """Signal, then case, to an array (steps, the signal's columns)."""

    @property
    def needs_model(self) -> bool:
        """Whether any signal asks a scorer."""
        return any(isinstance(signal, ScoredSignal) for signal in self.signals)

    @property
    def scorer(self) -> str | None:
        """Fingerprint of the model that signals ask."""
        return self.fingerprint if self.needs_model else None

    def of(self, cases: Sequence[Case]) -> list[Floats]:
        """One array (steps, columns) a case, in order.

        Raises UserError where a signal needs what a case or this object lacks.
        """
        keys = [_key(case) for case in cases]
        known = {signal.name: self._filed(signal) for signal in self.signals}
        missing = {
            key: (case, [signal for signal in self.signals if key not in known[signal.name]])
            for key, case in zip(keys, cases, strict=True)
        }
        new = [(key, case, signals) for key, (case, signals) in missing.items() if signals]
        size = BATCH if any(_scored(signals) for _, _, signals in new) else len(new)
        for start in range(0, len(new), max(1, size)):
            self._compute(new[start : start + size])
        return [np.concatenate([known[signal.name][key] for signal in self.signals], axis=1) for key in keys]

    def cut_share(self, cases: Sequence[Case]) -> float:
        """Share of the cases' tokens that the scorer does not see; 0 where none is asked."""
        if not self.needs_model or self.engine is None or not cases:
            return 0.0
        tokenizer = self.engine().tokenizer
        views = [view_of(case, tokenizer) for case in cases]
        return sum(view.share_cut * view.tokens for view in views) / max(1, sum(view.tokens for view in views))

    def _filed(self, signal: Signal | ScoredSignal) -> dict[str, Floats]:
        """What is known of a signal, by case; the file is read once."""
        if signal.name not in self._known:
            file = self._file(signal)
            self._known[signal.name] = _read(file, signal.columns) if file and file.exists() else {}
        return self._known[signal.name]

    def _file(self, signal: Signal | ScoredSignal) -> Path | None:
        if self.cache is None:
            return None
        asks = [self.fingerprint, BUDGET] if isinstance(signal, ScoredSignal) else []
        return self.cache / f"{signal.name}-{digest([signal.version, list(signal.columns), *asks])}.parquet"

    def _compute(self, wanted: Sequence[tuple[str, Case, Sequence[Signal | ScoredSignal]]]) -> None:
        """Compute and file the named signals of some cases."""
        for _, case, signals in wanted:
            if case.reference is None and any(signal.needs_reference for signal in _scored(signals)):
                raise UserError(f"case {case.case_id} has no reference answer: use the weights made without one")
        for key, case, signals in wanted:
            for signal in signals:
                if isinstance(signal, Signal):
                    self._known[signal.name][key] = signal.read(case)
        asked = [(key, case, signal) for key, case, signals in wanted for signal in _scored(signals)]
        if asked:
            self._score(asked)
        for signal in self.signals:
            file = self._file(signal)
            if file and any(signal in signals for _, _, signals in wanted):
                _write(file, signal.columns, self._known[signal.name])

    def _score(self, asked: Sequence[tuple[str, Case, ScoredSignal]]) -> None:
        """Ask the scorer, everything at once: it computes equal requests and shared prefixes once."""
        if self.engine is None:
            raise UserError("these signals ask a scorer: give a model, or use the weights made without one")
        engine = self.engine()
        views = {key: view_of(case, engine.tokenizer) for key, case, _ in asked}
        requests = [signal.ask(case, views[key], engine.tokenizer) for key, case, signal in asked]
        flat = [request for some in requests for request in some]
        scores = engine.score(flat, self.progress)
        self.computed += sum(
            score.prompt_tokens - score.cached_tokens for score in dict(zip(flat, scores, strict=True)).values()
        )
        left = iter(scores)
        for (key, case, signal), some in zip(asked, requests, strict=True):
            self._known[signal.name][key] = signal.read(case, views[key], [next(left) for _ in some])


def _scored(signals: Sequence[Signal | ScoredSignal]) -> list[ScoredSignal]:
    return [signal for signal in signals if isinstance(signal, ScoredSignal)]


def _key(case: Case) -> str:
    """Digest of all that a signal may read: everything but the labels."""
    return digest([case.question, case.reference, case.answer, case.source, [asdict(step) for step in case.steps]])


def _read(file: Path, columns: Sequence[str]) -> dict[str, Floats]:
    table = pq.read_table(file)
    values = np.column_stack([table[name].to_numpy() for name in columns]) if columns else np.zeros((len(table), 0))
    keys = np.array(table["case"].to_pylist())
    return {str(key): values[keys == key] for key in dict.fromkeys(keys.tolist())}


def _write(file: Path, columns: Sequence[str], known: dict[str, Floats]) -> None:
    """All of it anew, by one rename."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = np.concatenate(list(known.values()))
    keys = [key for key, values in known.items() for _ in range(len(values))]
    table = pa.table({"case": keys, **{name: rows[:, i] for i, name in enumerate(columns)}})
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    pq.write_table(table, temporary, compression="zstd")
    os.replace(temporary, file)
