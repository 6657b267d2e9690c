"""Token F1: how much of the reference an answer says, and how little else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from apportion.pipeline.core import scripts
from apportion.pipeline.trajectory.answer import normalize
from apportion.pipeline.verifiers.base import Verdict, Verifier


def words(text: str) -> list[str]:
    """The normalized words; Chinese by character, other scripts without spaces by pairs of letters."""
    return [part for word in normalize(text).split() for part in scripts.words(word)]


def token_f1(answer: str, reference: str) -> float:
    """F1 in [0, 1] of the bags of words (SQuAD, arXiv 1606.05250); symmetric; 0 if empty."""
    said, wanted = Counter(words(answer)), Counter(words(reference))
    shared = (said & wanted).total()
    return 2 * shared / (said.total() + wanted.total()) if shared else 0.0


class F1(Verifier):
    """outcome = the best token F1 over the aliases, from 0 to 1; success where it reaches `threshold`.

    Status: source (SQuAD, arXiv 1606.05250); scripts without spaces are ours: Chinese by character, others by pairs of
    letters. A long answer that holds the reference scores low: F1 counts what it says beside it.
    """

    name: ClassVar[str] = "f1"

    threshold: float = Field(0.5, gt=0, le=1, strict=True)
    """F1 from which an answer counts as solved."""

    def verify(self, answer: str, references: Sequence[str]) -> Verdict:
        """The verdict on `answer`; no references give 0."""
        best = max((token_f1(answer, reference) for reference in references), default=0.0)
        return Verdict(best, best >= self.threshold)
