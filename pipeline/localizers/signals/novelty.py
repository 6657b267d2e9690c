"""What is new in a message and what it only repeats, and where the team's answer comes from.

`new_words` is the share of its words that nobody has used before; `new_numbers` and `new_names` are log(1 + numbers,
capitalised names of several words) that appear for the first time, the question's own left out. `repeats` is the
share of its word triples that stand in an earlier message, `echoed` in a later one; `covers` is the share of the
question's longer words in it.

`answer_first` marks the first message that states the team's answer verbatim (case, punctuation and digit grouping
do not count), `answer_here` every one, `answer_later` those after the first. `origin` is the share of the longer words
of the last conclusion, neither the question's nor said before, that the message brings in. Where a log does not state
its answer it is guessed: what the last message that says something sets in bold, code, quotation marks or a box, else
its last number.

Status: ours. Degenerate: a message of fewer than three words repeats nothing; an answer that stands in the question, or
none at all, is mentioned nowhere. Cost: linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from apportion.pipeline.localizers.signals.base import Columns, Signal, first_of, is_idle, is_tool
from apportion.pipeline.trajectory.case import Case

_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]+|\d[\d,.]*\d|\d")
_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
_NAME = re.compile(r"\b[A-Z][a-z]+(?: [A-Z][a-z]+)+\b")
_MARKED = re.compile(
    r"\\boxed\{([^{}]{1,80})\}|\*\*([^*\n]{1,80})\*\*|`([^`\n]{1,80})`|\"([^\"\n]{2,80})\"|“([^”\n]{2,80})”"
)
_FIGURE = re.compile(r"\$?\d[\d,]*(?:\.\d+)?%?")
_LONG = 200
_CONCLUSION = 40


def words(text: str) -> list[str]:
    """The words and numbers of a text in small letters."""
    return [word.casefold() for word in _WORD.findall(text)]


def _repetition(case: Case) -> Columns:
    texts = [step.text for step in case.steps]
    said = [words(text) for text in texts]
    vocabulary = [set(some) for some in said]
    triples = [set(zip(some, some[1:], some[2:], strict=False)) for some in said]
    asked = {word for word in words(case.question) if len(word) > 3}
    fresh = _fresh(set(words(case.question)), vocabulary)
    return {
        "new_words": [new / max(5, len(some)) for new, some in zip(fresh, vocabulary, strict=True)],
        "new_numbers": _log_fresh(_NUMBER.findall, case.question, texts),
        "new_names": _log_fresh(_NAME.findall, case.question, texts),
        "repeats": _known(triples),
        "echoed": _known(triples[::-1])[::-1],
        "covers": [len(asked & some) / max(1, len(asked)) for some in vocabulary],
    }


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


def claimed(case: Case) -> str | None:
    """What the team answers: as the log states it, else as its last words suggest."""
    if case.answer and case.answer.strip():
        return case.answer.strip()
    for step in reversed(case.steps):
        text = step.text.replace("TERMINATE", "").strip()
        if not text or is_idle(step):
            continue
        marked = _MARKED.findall(text)
        numbers = _FIGURE.findall(text)
        if len(text) < _LONG and not marked and not numbers:
            continue
        found = "".join(marked[-1]).strip(" :.") if marked else ""
        return found or (numbers[-1] if numbers else None)
    return None


def plain(text: str) -> str:
    """Letters, digits and decimal points, in small letters, one space between words and around the whole."""
    kept = re.sub(r"[^\w. ]+", " ", re.sub(r"(?<=\d),(?=\d)", "", text.casefold()))
    return f" {' '.join(re.sub(r'[.](?![0-9])', ' ', kept).split())} "


def stated(what: str | None, case: Case) -> list[bool]:
    """Which messages state `what` verbatim; none where the question does."""
    sought = plain(what or "")
    if not sought.strip() or sought in plain(case.question):
        return [False] * len(case.steps)
    return [sought in plain(step.text) for step in case.steps]


def _mentions(case: Case) -> Columns:
    here = stated(claimed(case), case)
    first = first_of(here)
    return {
        "answer_here": here,
        "answer_first": first,
        "answer_later": [said and not begun for said, begun in zip(here, first, strict=True)],
        "origin": _origin(case),
    }


def _origin(case: Case) -> list[float]:
    spoken = [not is_tool(step) and not is_idle(step) and len(step.text) > _CONCLUSION for step in case.steps]
    last = [step.text for step, here in zip(case.steps, spoken, strict=True) if here] or [s.text for s in case.steps]
    known = set(words(case.question))
    goal = {word for word in words("".join(last[-1:])) if len(word) > 3 or word[0].isdigit()} - known
    result = []
    for step in case.steps:
        brought = set(words(step.text)) & goal - known
        result.append(len(brought) / max(1, len(goal)))
        known |= brought
    return result


repetition = Signal("repetition", _repetition)
mentions = Signal("mentions", _mentions)
