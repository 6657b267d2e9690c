"""What is new in a message and what it only repeats.

`new_words` is the share of its words that nobody has used before; `new_numbers` and `new_names` are log(1 + numbers,
capitalised names of several words) that appear for the first time, the question's own left out. `repeats` is the
share of its word triples that stand in an earlier message, `echoed` in a later one; `covers` is the share of the
question's longer words in it.

Status: ours. Degenerate: a message of fewer than three words repeats nothing. Cost: linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from apportion.pipeline.localizers.signals.base import from_text
from apportion.pipeline.trajectory.case import Case

_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]+|\d[\d,.]*\d|\d")
_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
_NAME = re.compile(r"\b[A-Z][a-z]+(?: [A-Z][a-z]+)+\b")
COLUMNS = ("new_words", "new_numbers", "new_names", "repeats", "echoed", "covers")


def words(text: str) -> list[str]:
    """The words and numbers of a text in small letters."""
    return [word.casefold() for word in _WORD.findall(text)]


def _read(case: Case) -> Sequence[Iterable[float]]:
    texts = [step.text for step in case.steps]
    said = [words(text) for text in texts]
    vocabulary = [set(some) for some in said]
    triples = [set(zip(some, some[1:], some[2:], strict=False)) for some in said]
    asked = {word for word in words(case.question) if len(word) > 3}
    fresh = _fresh(set(words(case.question)), vocabulary)
    return [
        [new / max(5, len(some)) for new, some in zip(fresh, vocabulary, strict=True)],
        _log_fresh(_NUMBER.findall, case.question, texts),
        _log_fresh(_NAME.findall, case.question, texts),
        _known(triples),
        _known(triples[::-1])[::-1],
        [len(asked & some) / max(1, len(asked)) for some in vocabulary],
    ]


def _fresh(known: set[str], sets: Iterable[set[str]]) -> list[int]:
    """How many members of each set are neither known nor in an earlier set."""
    seen = set(known)
    result = []
    for some in sets:
        result.append(len(some - seen))
        seen |= some
    return result


def _log_fresh(find: Callable[[str], list[str]], question: str, texts: Sequence[str]) -> list[float]:
    return [float(np.log1p(n)) for n in _fresh(set(find(question)), (set(find(text)) for text in texts))]


def _known(sets: Sequence[set[tuple[str, str, str]]]) -> list[float]:
    """The share of each set's members that an earlier set has."""
    seen: set[tuple[str, str, str]] = set()
    result = []
    for some in sets:
        result.append(len(some & seen) / max(1, len(some)))
        seen |= some
    return result


signal = from_text("repetition", COLUMNS, _read)
