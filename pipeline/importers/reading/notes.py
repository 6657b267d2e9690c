"""What an import says beside its rows: one line for each thing that was read in another way than it stands."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apportion.pipeline.importers.reading.files import READ, Listing

NOT_READ = "keys that are not read"
"""Group of the remarks on keys that no column holds."""
_MOST = 100
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"


@dataclass(frozen=True)
class Remark:
    """Something that a reader of the import must know, counted over all logs and said in one line.

    `unit` is what is counted. Remarks with the same `group` share a line that begins with it.
    """

    text: str
    unit: str = "conversation"
    group: str = ""


def remark_lines(remarks: Mapping[Remark, int]) -> list[str]:
    """A line a remark, with its count; remarks of one group share a line, the most frequent first."""
    lines = [f"{remark.text}: {_count(n, remark.unit)}" for remark, n in remarks.items() if not remark.group]
    groups: dict[str, list[str]] = {}
    for remark, n in sorted(remarks.items(), key=lambda item: -item[1]):
        if remark.group:
            groups.setdefault(remark.group, []).append(f"{remark.text} ({_count(n, remark.unit)})")
    return [*lines, *(f"{group}: {_listed(texts)}" for group, texts in groups.items())]


def alike_line(names: Sequence[str]) -> str:
    """Names that a reader would take for one."""
    return f"names that differ only in case or spaces stay agents of their own: {_listed([repr(n) for n in names])}"


def passed_over_line(listing: Listing) -> str:
    """The files of a folder that were not read, by name."""
    parts = [f"passed over, being none of {', '.join(READ)}: {_listed(listing.passed_over)}"]
    hidden = f"hidden files passed over: {listing.hidden}"
    return "; ".join([*(parts if listing.passed_over else []), *([hidden] if listing.hidden else [])])


def folded(name: str) -> str:
    """A name without case, spaces and invisible characters: two agents with the same one are hard to tell apart."""
    plain = unicodedata.normalize("NFKC", name).translate(dict.fromkeys(map(ord, _INVISIBLE)))
    return "".join(plain.split()).casefold()


def trimmed(name: str) -> str:
    """A name without spaces and invisible characters around it."""
    return name.strip().strip(_INVISIBLE).strip()


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _MOST} more" if len(texts) > _MOST else ""
    return ", ".join(texts[:_MOST]) + more


def _count(n: int, unit: str) -> str:
    return f"{n:,} {unit}" if n == 1 else f"{n:,} {unit}s"
