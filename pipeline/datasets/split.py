"""Questions to sides: train, validation or test by what is asked, and questions that an evaluation set holds too.

Two questions are the same when their sets of telling words are: words, numbers and operators, without case,
punctuation and function words. Nothing is learnt from the other questions, so a question falls on the same side in
every shard, every iteration and every export, and questions of one template that differ in a single name or number
stay apart ("the owner of the Blue Lantern", "... of the Red Lantern"). Similarity thresholds would merge those, and
chains of them whole templates. What this rule cannot see is a paraphrase in other words, or a typing error.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import polars as pl

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest

RUN = 6
"""A question of an evaluation set that has so many telling words is also found inside a longer text."""

# Scripts written without spaces: every character counts as a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"\d+(?:[.,]\d+)*|[{_UNSPACED}]|[^\W\d_{_UNSPACED}]+|[^\w\s]")
_PROSE = frozenset(".,;:!?\"'`´‘’“”„«»…¿¡。、，？！：；「」")
# No question words, no negation, nothing that compares: those tell questions apart.
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the of in on at to for from by with and is are was were be been being do does did has have had that this "
        "these those it its s me us you your please tell",
    )
)


def tokens(text: str) -> list[str]:
    """Lower-case words, numbers (3.5 is one) and single symbols of `text`, without the punctuation of prose.

    Operators stay, so that 3+4 and 3*4 differ; compatibility forms (full-width letters) are unified.
    """
    return [token for token in _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold()) if token not in _PROSE]


def telling(text: str) -> list[str]:
    """`tokens` without function words; all of them where nothing else is there, the bare text where none is."""
    said = tokens(text)
    return [token for token in said if token not in _FUNCTION_WORDS] or said or [text.strip()]


def question_key(text: str) -> str:
    """What two forms of one question share: a hash of the set of telling words, the same on every machine."""
    return digest(sorted(set(telling(text))))


def split_of(questions: pl.Series | Sequence[str], validation: float, test: float) -> list[str]:
    """The side of each question, in order: "test", "validation" or "train".

    The hash of the question's key, read as a number u in [0, 1), decides: u < test, u < test + validation, else
    train. The shares hold in expectation only: few questions may leave a side empty. Raising `validation` moves
    questions from train to validation and no other way. Status: ours. Cost: linear. Raises UserError for shares
    that are negative or leave nothing to train on.
    """
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise UserError(
            f"export: validation = {validation} and test = {test}: give shares of at least 0 that sum to less than 1"
        )
    sides = []
    for question in questions:
        place = int(question_key(question), 16) / 2**64
        sides.append("test" if place < test else "validation" if place < test + validation else "train")
    return sides


def contaminated(questions: pl.Series | Sequence[str], evaluation: Iterable[str]) -> list[bool]:
    """Which questions the evaluation set asks too: the same key, or one of its questions inside a longer text.

    The second finds a question that stands in a wrapping ("Solve the following. ... Think step by step."): all its
    telling words in order, unbroken, and at least `RUN` of them. Cost: linear in the words on both sides.
    """
    asked = [telling(text) for text in evaluation]
    keys = {frozenset(words) for words in asked}
    by_start: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for words in asked:
        if len(words) >= RUN:
            by_start.setdefault(tuple(words[:RUN]), set()).add(tuple(words))
    return [_found(telling(question), keys, by_start) for question in questions]


def _found(words: list[str], keys: set[frozenset[str]], by_start: dict[tuple[str, ...], set[tuple[str, ...]]]) -> bool:
    if frozenset(words) in keys:
        return True
    return any(
        tuple(words[at : at + len(whole)]) == whole
        for at in range(len(words) - RUN + 1)
        for whole in by_start.get(tuple(words[at : at + RUN]), ())
    )
