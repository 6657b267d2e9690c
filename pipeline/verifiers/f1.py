"""Token F1: how much of the reference an answer says, and how little else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline.verifiers.base import Verdict
from pipeline.verifiers.exact import normalize


def token_f1(answer: str, reference: str) -> float:
    """F1 in [0, 1] of the bags of normalized words (SQuAD, arXiv 1606.05250); symmetric; 0 if empty."""
    said, wanted = Counter(normalize(answer).split()), Counter(normalize(reference).split())
    shared = (said & wanted).total()
    return 2 * shared / (said.total() + wanted.total()) if shared else 0.0


class F1:
    """outcome = the best token F1 over the aliases; success where it reaches `threshold` (in (0, 1])."""

    name = "f1"

    def __init__(self, threshold: float = 0.5) -> None:
        if not 0.0 < threshold <= 1.0:
            raise ValueError(f"threshold must be in (0, 1], not {threshold}")
        self.threshold = threshold

    def verify(self, answer: str, references: Sequence[str]) -> Verdict:
        """The verdict on `answer`; no references give 0."""
        best = max((token_f1(answer, reference) for reference in references), default=0.0)
        return Verdict(best, best >= self.threshold)
