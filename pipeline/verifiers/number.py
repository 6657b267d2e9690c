"""The last number of an answer, compared as a number."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.verifiers.base import Verdict, binary

RELATIVE_TOLERANCE = 1e-6

ANSWER_TAIL = 4000
"""Characters of an answer that are read, counted from its end: bounds the time that hostile text can take."""

_PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_NUMBER = re.compile(
    rf"""(?P<sign>(?<![\w.)\]])-)?            # a minus after a word or bracket subtracts, it is no sign
    (?:\\?[$€£¥]\s?)?
    (?<![A-Za-z_])                            # the 2 of CO2 is part of a name
    (?:(?P<whole>{_PLAIN})\ (?=\d+/\d))?      # the 1 of 1 1/2
    (?P<number>{_PLAIN}(?:\.\d+)?|(?<!\d)\.\d+)
    (?P<exponent>[eE][+-]?\d+)?
    (?:\s?/\s?(?P<below>{_PLAIN}(?:\.\d+)?))?
    (?P<percent>\s?\\?%)?""",
    re.VERBOSE,
)
_FRAC = re.compile(r"\\[dt]?frac\{(-?[\d.]+)\}\{(-?[\d.]+)\}")


@dataclass(frozen=True)
class Reading:
    """A number as written: `value` (50 for "50%") and whether a percent sign follows it."""

    value: float
    percent: bool


def last_number(text: str) -> Reading | None:
    """The last number of `text`, or None: 1,234.5  -$3  50%  3/4  1 1/2  .5  2e6  \\frac{1}{2}; not n/0."""
    plain = _FRAC.sub(r"\1/\2", text[-ANSWER_TAIL:].replace("{,}", ",").replace("\N{MINUS SIGN}", "-"))
    matches = list(_NUMBER.finditer(plain))
    if not matches:
        return None
    match = matches[-1]
    value = float(match["number"].replace(",", "") + (match["exponent"] or ""))
    if match["below"]:
        below = float(match["below"].replace(",", ""))
        value = value / below if below else math.nan
    if match["whole"]:
        value += float(match["whole"].replace(",", ""))
    if match["sign"]:
        value = -value
    return Reading(value, match["percent"] is not None) if math.isfinite(value) else None


def same_number(answer: Reading, reference: Reading) -> bool:
    """Whether two readings agree: whole numbers exactly, others within a relative 1e-6.

    Where only one bears a percent sign, 50% agrees with both 50 and 0.5: data sets write it either way.
    """
    if answer.percent == reference.percent:
        return _close(answer.value, reference.value)
    share, other = (answer, reference) if answer.percent else (reference, answer)
    return _close(share.value, other.value) or _close(share.value / 100, other.value)


def _close(a: float, b: float) -> bool:
    # A relative tolerance alone would take 1234567 for 1234568.
    if a.is_integer() and b.is_integer():
        return a == b
    return math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE)


class Number:
    """outcome = 1 if the last number of the answer equals the last number of any reference, else 0.

    The usual rule for GSM8K. An answer or a reference without a number never matches.
    """

    name = "number"

    def verify(self, answer: str, references: Sequence[str]) -> Verdict:
        """The verdict on the last number that `answer` holds."""
        said = last_number(answer)
        wanted = [last_number(reference) for reference in references]
        return binary(said is not None and any(number and same_number(said, number) for number in wanted))
