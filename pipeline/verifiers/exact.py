"""Exact match after the normalization of SQuAD."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence

from pipeline.verifiers.base import Verdict, binary

_ARTICLES = re.compile(r"(?<!\S)(a|an|the)(?!\S)")
_IN_NUMBER = re.compile(r"(?<=\d)\.(?=\d)|(?<!\S)-(?=\d)")


def normalize(text: str) -> str:
    """Lower case without articles, punctuation and spare space (SQuAD, arXiv 1606.05250); idempotent.

    Two departures, each where the original would call a wrong answer right: a decimal point and a leading
    minus stay (3.5 is not 35), and a text of nothing but articles or punctuation stays as it is ("A", "+").
    """
    lowered = " ".join(unicodedata.normalize("NFC", text).lower().replace("\N{MINUS SIGN}", "-").split())
    kept = {match.start() for match in _IN_NUMBER.finditer(lowered)}
    bare = "".join(character for at, character in enumerate(lowered) if at in kept or not _is_punctuation(character))
    bare = " ".join(unicodedata.normalize("NFC", bare).split())
    return " ".join(_ARTICLES.sub(" ", bare).split()) or bare or lowered


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


class Exact:
    """outcome = 1 if the normalized answer equals a normalized reference, else 0; an empty one is wrong."""

    name = "exact"

    def verify(self, answer: str, references: Sequence[str]) -> Verdict:
        """The verdict on the whole answer: prose around a right answer makes it wrong (use `f1` for that)."""
        said = normalize(answer)
        return binary(said != "" and any(said == normalize(reference) for reference in references))
