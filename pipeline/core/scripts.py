"""Words of scripts that are written without spaces: Chinese, Japanese, Thai, Lao, Khmer, Burmese."""

from __future__ import annotations

import re
from collections.abc import Iterator

_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_THAI_AND_LAO = "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0eff"
_BURMESE_AND_KHMER = "\u1000-\u109f\u1780-\u17d3"
_KANA = "\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
_ALPHABETS = f"{_THAI_AND_LAO}{_BURMESE_AND_KHMER}{_KANA}"

SPACELESS = f"{_HAN}{_ALPHABETS}"
"""Letters (and the marks on them) of these scripts, as the inside of a character class."""

_PARTS = re.compile(rf"(?P<han>[{_HAN}])|(?P<alphabet>[{_ALPHABETS}]+)|[^{SPACELESS}]+")
_ONE = re.compile(rf"[{_HAN}]")


def words(word: str) -> Iterator[str]:
    """`word` cut where a script without spaces begins: Chinese by character, the others by pairs of them.

    A Chinese character means as much as a word; kana and Thai letters are an alphabet, of which any two texts share
    most, so their pairs are compared.
    """
    for part in _PARTS.finditer(word):
        if part["alphabet"]:
            yield from pairs(part["alphabet"])
        else:
            yield part[0]


def terms(run: str) -> Iterator[str]:
    """What a run of such letters is searched by: every pair of neighbours, and every Chinese character."""
    yield from pairs(run)
    if len(run) > 1:
        yield from _ONE.findall(run)


def pairs(run: str) -> Iterator[str]:
    """The overlapping pairs of a run, or the run itself where it is a single letter."""
    yield from (run[at : at + 2] for at in range(max(1, len(run) - 1)))
