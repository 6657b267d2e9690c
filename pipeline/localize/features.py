"""All signals of all cases as one array a case, computed in one batch and kept as Parquet.

The file's name is a digest of the signals with their versions, the scorer's fingerprint and the window; its rows are
one a step, by a digest of the case without its labels. What is on file is not computed again, and where nothing is
missing the scorer is not even started.

Cost: what the signals cost; all requests go through one `engine.score`, which computes equal requests and shared
prefixes once.
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

from pipeline.engines.base import Engine, Progress, Score, ScoreRequest
from pipeline.errors import UserError
from pipeline.ids import digest
from pipeline.localize.case import Case
from pipeline.localize.signals.base import Signal
from pipeline.localize.signals.window import BUDGET, View, view_of

Floats = NDArray[np.float64]
_NO_VIEW = View((), (), 0.0, 0)


@dataclass
class Features:
    """Signals over cases. `engine` starts the scorer, at the first need; `fingerprint` is what it will answer to.

    `cache` is a folder for the Parquet file; without one the numbers last as long as the object.
    """

    signals: tuple[Signal, ...]
    engine: Callable[[], Engine] | None = None
    fingerprint: str = ""
    cache: Path | None = None
    progress: Progress | None = None
    computed: int = 0
    """Tokens that the scorer has computed so far."""
    _known: dict[str, Floats] = field(default_factory=dict, repr=False)

    @property
    def columns(self) -> list[str]:
        """Names of the columns, each with its signal's before it."""
        return [f"{signal.name}.{column}" for signal in self.signals for column in signal.columns]

    @property
    def needs_model(self) -> bool:
        """Whether any signal asks a scorer."""
        return any(signal.needs_model for signal in self.signals)

    def of(self, cases: Sequence[Case]) -> list[Floats]:
        """One array (steps, columns) a case, in order.

        Raises UserError where a signal needs what a case or this object lacks.
        """
        if not self._known and self._file and self._file.exists():
            self._known.update(_read(self._file, self.columns))
        keys = [_key(case) for case in cases]
        new = {key: case for key, case in zip(keys, cases, strict=True) if key not in self._known}
        if new:
            self._known.update(zip(new, self._compute(list(new.values())), strict=True))
            if self._file:
                _write(self._file, self.columns, self._known)
        return [self._known[key] for key in keys]

    def cut_share(self, cases: Sequence[Case]) -> float:
        """Share of the cases' tokens that the scorer does not see; 0 where none is asked."""
        if not self.needs_model or self.engine is None or not cases:
            return 0.0
        tokenizer = self.engine().tokenizer
        views = [view_of(case, tokenizer) for case in cases]
        return sum(view.share_cut * view.tokens for view in views) / max(1, sum(view.tokens for view in views))

    @property
    def _file(self) -> Path | None:
        if self.cache is None:
            return None
        asked = [[signal.name, signal.version, list(signal.columns)] for signal in self.signals]
        return self.cache / f"signals-{digest([asked, self.fingerprint if self.needs_model else '', BUDGET])}.parquet"

    def _compute(self, cases: Sequence[Case]) -> list[Floats]:
        for case in cases:
            if case.reference is None and any(signal.needs_reference for signal in self.signals):
                raise UserError(f"case {case.case_id} has no reference answer: use the weights made without one")
        views = [_NO_VIEW] * len(cases)
        asked: list[list[list[ScoreRequest]]] = [[[] for _ in self.signals] for _ in cases]
        scores: list[Score] = []
        if self.needs_model:
            if self.engine is None:
                raise UserError("these signals ask a scorer: give a model, or use the weights made without one")
            engine = self.engine()
            views = [view_of(case, engine.tokenizer) for case in cases]
            asked = [
                [signal.ask(case, view, engine.tokenizer) for signal in self.signals]
                for case, view in zip(cases, views, strict=True)
            ]
            scores = engine.score([one for some in asked for few in some for one in few], self.progress)
            self.computed += sum(score.prompt_tokens - score.cached_tokens for score in scores)
        left = iter(scores)
        return [
            np.concatenate(
                [
                    signal.read(case, view, [next(left) for _ in requests])
                    for signal, requests in zip(self.signals, some, strict=True)
                ],
                axis=1,
            )
            for case, view, some in zip(cases, views, asked, strict=True)
        ]


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
