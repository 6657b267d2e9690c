"""Token F1: how much of the reference an answer says, and how little else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from apportion.pipeline.core import scripts
from apportion.pipeline.verifiers.base import Verdict, setting
from apportion.pipeline.verifiers.exact import normalize


def words(text: str) -> list[str]:
    """The normalized words; Chinese by character, other scripts without spaces by pairs of letters."""
    return [part for word in normalize(text).split() for part in scripts.words(word)]


def token_f1(answer: str, reference: str) -> float:
    """F1 in [0, 1] of the bags of words (SQuAD, arXiv 1606.05250); symmetric; 0 if empty."""
    said, wanted = Counter(words(answer)), Counter(words(reference))
    shared = (said & wanted).total()
    return 2 * shared / (said.total() + wanted.total()) if shared else 0.0


class F1:
    """outcome = the best token F1 over the aliases; success where it reaches `threshold` (in (0, 1])."""

    name = "f1"

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = setting("threshold", threshold, 0.0, 1.0)
        if not self.threshold:
            raise ValueError("threshold must be above 0, or every answer would be a success")

    def verify(self, answer: str, references: Sequence[str]) -> Verdict:
        """The verdict on `answer`; no references give 0."""
        best = max((token_f1(answer, reference) for reference in references), default=0.0)
        return Verdict(best, best >= self.threshold)
