"""Exact match of the normalized texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from apportion.pipeline.trajectory.answer import normalize, units
from apportion.pipeline.verifiers.base import Verdict, Verifier, binary


class Exact(Verifier):
    """outcome = 1 if the normalized answer equals a normalized reference, else 0; an empty one is wrong.

    Either may leave out a sign of money, per cent or degrees, but two different ones make it wrong: $5 is 5, not €5.
    Status: source (arXiv 1606.05250), with departures that keep what carries meaning: 3.5, -5, 1/2, C++.
    """

    name: ClassVar[str] = "exact"

    def verify(self, answer: str, references: Sequence[str]) -> Verdict:
        """The verdict on the whole answer: prose around a right answer makes it wrong (use `f1` for that)."""
        said, signs = normalize(answer), units(answer)
        return binary(
            said != ""
            and any(
                said == normalize(reference) and (not signs or units(reference) in (frozenset(), signs))
                for reference in references
            )
        )
