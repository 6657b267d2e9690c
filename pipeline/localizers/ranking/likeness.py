"""Is a log like those that a localizer learned from? Its distance to the nearest of them, in figures of its outline.

Columns of a log, people's messages left out: log of its messages and of its speakers, mean and spread of log(1 +
characters), shares of messages by tools and environments, that address somebody, by the busiest speaker, that follow
one of the same speaker, with a code block and with a tool call, whether people say more than the task, and the share of
the words in the speakers' names that at least `LEAST` logs of the corpus share. Each is divided by its spread within
the kinds of log of the corpus (at least `FLOOR`, so that what never varies there does not decide alone); the distance
is the root mean square, averaged over the `NEAREST` logs of other questions. It is 1 at the value below which `SHARE`
of the corpus lie when each log is held against the others.

Status: ours; nearest neighbours as a test of novelty are standard. Degenerate: fewer than `FEWEST` logs give no
measure; a log without messages of agents is infinitely far. Cost: logs x columns a log.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from apportion.pipeline.localizers.base import Floats
from apportion.pipeline.trajectory.blamable import is_place
from apportion.pipeline.trajectory.case import Case, Step
from apportion.pipeline.trajectory.people import is_person, name_words

COLUMNS = (
    "messages", "speakers", "length", "length_spread", "tools", "addressed", "busiest", "same_speaker", "code", "calls",
    "people", "names",
)  # fmt: skip
LEAST = 5
FLOOR = 0.15
NEAREST = 3
SHARE = 0.9
FEWEST = 20


@dataclass(frozen=True)
class Likeness:
    """What is kept of a corpus: `rows` (logs, columns) and their `questions`, the shared `words` of names, the `scale`
    of each column, and the distance that counts as 1."""

    words: frozenset[str]
    questions: tuple[str, ...]
    rows: Floats
    scale: Floats
    edge: float

    @classmethod
    def of(cls, cases: Sequence[Case]) -> Likeness | None:
        """The measure of a corpus; None where it is too small to have one."""
        kept = [case for case in cases if _said(case)]
        if len(kept) < FEWEST:
            return None
        mine = [_words_of(case) for case in kept]
        counts = Counter(word for words in mine for word in words)
        # A log's own names do not make it known: they are held against those of the others.
        known = [{word for word, n in counts.items() if n - (word in words) >= LEAST} for words in mine]
        rows = np.array([_columns(case, words) for case, words in zip(kept, known, strict=True)])
        kinds = np.array([case.source for case in kept])
        within = np.mean([rows[kinds == kind].var(0) for kind in sorted(set(kinds.tolist()))], axis=0)
        shared = frozenset(word for word, n in counts.items() if n >= LEAST)
        made = cls(shared, tuple(case.question_id for case in kept), rows, np.maximum(np.sqrt(within), FLOOR), 1.0)
        apart = [made._distance(row, question) for row, question in zip(rows, made.questions, strict=True)]
        edge = float(np.quantile([one for one in apart if math.isfinite(one)] or [0.0], SHARE))
        return replace(made, edge=edge) if edge > 0 else None

    def unlikeness(self, case: Case) -> float:
        """0 for a twin of some logs of the corpus, 1 at its edge; logs of the case's own question do not count."""
        if not _said(case):
            return math.inf
        return self._distance(np.array(_columns(case, self.words)), case.question_id) / self.edge

    def _distance(self, row: Floats, question: str) -> float:
        others = np.array([one != question for one in self.questions], dtype=bool)
        if not others.any():
            return math.inf
        apart = np.sqrt((((self.rows[others] - row) / self.scale) ** 2).mean(axis=1))
        return float(np.sort(apart)[:NEAREST].mean())

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Likeness:
        """From JSON. Raises KeyError, TypeError or ValueError where it is none, or has other columns."""
        rows, scale, edge = np.array(record["rows"], float), np.array(record["scale"], float), float(record["edge"])
        questions = tuple(map(str, record["questions"]))
        if tuple(record["columns"]) != COLUMNS or rows.shape != (len(questions), len(scale)):
            raise ValueError("its corpus has other columns than these")
        if not (np.isfinite(rows).all() and (scale > 0).all() and 0 < edge < math.inf):
            raise ValueError("its corpus holds what is no finite number")
        return cls(frozenset(map(str, record["words"])), questions, rows, scale, edge)


def _said(case: Case) -> list[Step]:
    """What others than people say."""
    return [step for step in case.steps if step.role != "user" and not is_person(step.agent)]


def _words_of(case: Case) -> set[str]:
    return {word for step in _said(case) for word in name_words(step.agent)}


def _columns(case: Case, known: Collection[str]) -> list[float]:
    said = _said(case)
    size = np.log1p([len(step.text) for step in said])
    speakers = [step.agent for step in said]
    spoken = Counter(speakers)
    named = {name: name_words(name) for name in spoken}
    familiar = {name: sum(word in known for word in words) / max(1, len(words)) for name, words in named.items()}
    return [
        math.log(len(said)),
        math.log(len(spoken)),
        float(size.mean()),
        float(size.std()),
        sum(is_place(step) for step in said) / len(said),
        sum(step.recipient is not None and not is_place(step) for step in said) / len(said),
        max(spoken.values()) / len(said),
        sum(one == other for one, other in pairwise(speakers)) / max(1, len(said) - 1),
        sum("```" in step.text for step in said) / len(said),
        sum("<tool_call>" in step.text for step in said) / len(said),
        float(len(case.steps) - len(said) > 1),
        sum(familiar[name] for name in speakers) / len(said),
    ]
