"""Where the team's answer comes from: who says it first, and whose words the conclusion is made of.

`answer_first` marks the first message that states the team's answer verbatim (case, punctuation and digit grouping
do not count), `answer_here` every one, `answer_later` those after the first. `origin` is the share of the longer words
of the last conclusion, neither the question's nor said before, that the message brings in.

Where a log does not state its answer it is guessed: what the last message that says something sets in bold, code,
quotation marks or a box, else its last number.

Status: ours. Degenerate: an answer that stands in the question, or none at all, is mentioned nowhere. Cost: linear.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from apportion.pipeline.localizers.signals.base import first_of, from_text, is_idle, is_tool
from apportion.pipeline.localizers.signals.repetition import words
from apportion.pipeline.trajectory.case import Case

_MARKED = re.compile(
    r"\\boxed\{([^{}]{1,80})\}|\*\*([^*\n]{1,80})\*\*|`([^`\n]{1,80})`|\"([^\"\n]{2,80})\"|“([^”\n]{2,80})”"
)
_NUMBER = re.compile(r"\$?\d[\d,]*(?:\.\d+)?%?")
_LONG = 200
_CONCLUSION = 40
COLUMNS = ("answer_here", "answer_first", "answer_later", "origin")


def claimed(case: Case) -> str | None:
    """What the team answers: as the log states it, else as its last words suggest."""
    if case.answer and case.answer.strip():
        return case.answer.strip()
    for step in reversed(case.steps):
        text = step.text.replace("TERMINATE", "").strip()
        if not text or is_idle(step):
            continue
        marked = _MARKED.findall(text)
        numbers = _NUMBER.findall(text)
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


def _read(case: Case) -> Sequence[Iterable[float]]:
    here = stated(claimed(case), case)
    first = first_of(here)
    return [
        map(float, here),
        first,
        [float(said and not begun) for said, begun in zip(here, first, strict=True)],
        _origin(case),
    ]


def _origin(case: Case) -> list[float]:
    spoken = [not is_tool(step) and not is_idle(step) and len(step.text) > _CONCLUSION for step in case.steps]
    last = max((i for i, here in enumerate(spoken) if here), default=len(case.steps) - 1)
    known = set(words(case.question))
    goal = {word for word in words(case.steps[last].text) if len(word) > 3 or word[0].isdigit()} - known
    result = []
    for step in case.steps:
        brought = set(words(step.text)) & goal - known
        result.append(len(brought) / max(1, len(goal)))
        known |= brought
    return result


signal = from_text("mentions", COLUMNS, _read)
