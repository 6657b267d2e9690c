"""Reasons counted: those that differ in numbers only are one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_PLACE = re.compile(r"^trajectory \S+: ")


def summed(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """Reasons with their counts, the most frequent first; those that differ in numbers only are one, with the range."""
    numbers: dict[str, list[list[str]]] = defaultdict(list)
    for reason in reasons:
        told = _PLACE.sub("", reason)
        numbers[_NUMBER.sub("{}", told.replace("{", "(").replace("}", ")"))].append(_NUMBER.findall(told))
    made = [(_ranged(text, found), len(found)) for text, found in numbers.items()]
    return sorted(made, key=lambda one: (-one[1], one[0]))


def _ranged(text: str, found: Sequence[Sequence[str]]) -> str:
    """`text` with the numbers of its reasons at their places, as `a` or `a to b`."""
    ranges = []
    for column in zip(*found, strict=True):
        low, high = min(column, key=float), max(column, key=float)
        ranges.append(low if low == high else f"{low} to {high}")
    return text.format(*ranges)
