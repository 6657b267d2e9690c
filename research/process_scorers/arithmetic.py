r"""Do the equations of a step hold, and do its numbers come from somewhere? The text is parsed, never run.

LaTeX (\times, \cdot, \div, \frac, \text, powers, roots, \boxed) is rewritten as plain arithmetic; of every "=" the
longest arithmetic expression on each side is valued by the calculator tool. What touches a variable is left alone, and
so is an equation without an operator on either side ("60 minutes = 1 hour").

Status: ours. Degenerate: a step without such equations has none that are wrong. Cost: linear, microseconds a line.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.tools.calculator import CalculationError, evaluate
from apportion.pipeline.trajectory.case import Case

Floats = NDArray[np.float64]
COLUMNS = ("wrong", "first_wrong", "checked", "unfounded", "first_unfounded", "off")

_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox|operatorname)\s*\{[^{}]*\}")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_SHORT_FRACTION = re.compile(r"\\[dt]?frac\s*(\d)\s*(\d)")
_ROOT = re.compile(r"\\sqrt\s*\{([^{}]*)\}")
_BOXED = re.compile(r"\\boxed\s*\{([^{}]*)\}")
_POWER = re.compile(r"\^\s*(?:\{([^{}]*)\}|(\d))")
_SIGNS = {
    "\\times": "*", "\\cdot": "*", "\\div": "/", "\\left": "", "\\right": "", "\\,": "", "\\!": "", "\\;": " ",
    "\\ ": " ", "\\quad": ";", "\\qquad": ";", "\\\\": ";", "\\(": " ", "\\)": " ", "\\[": ";", "\\]": ";", "\\$": "",
    "$": "", "{,}": "", "×": "*", "÷": "/", "−": "-", "–": "-", "\\approx": "≈", "\\%": "%", "&": "", "**": " ** ",
    "£": "", "€": "",
}  # fmt: skip
_TIMES = re.compile(r"(?<=[\d)])\s*[xX]\s*(?=[\d(])")
_BOLD = re.compile(r"\*\*(?=\S[^*]*[A-Za-z][^*]*\*\*)|(?<=[A-Za-z.:])\*\*")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_PERCENT_OF = re.compile(r"(\d+(?:\.\d+)?)\s*%\s*of\b")
_UNIT = re.compile(r"\s*/\s*(?=[A-Za-z]{2,})|(?<![\\A-Za-z])[A-Za-z][A-Za-z'’-]+(?:\s*\^\s*\d)?")
_LEFT = re.compile(r"[\d.+\-*/()\s%]*$")
_RIGHT = re.compile(r"^[\s]*[\d.+\-*/()\s%]*")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Claim:
    """One equation of a text: the values of its sides, and whether they agree up to the rounding that was written."""

    left: float
    right: float
    holds: bool


def claims(text: str) -> list[Claim]:
    """The equations between numbers that `text` states, in order."""
    found = []
    for line in re.split(r"[;\n]|\. |, |\bso\b|\band\b", plain(text)):
        parts = re.split(r"(≈|=)", line)
        for i in range(1, len(parts) - 1, 2):
            claim = _claim(parts[i - 1], parts[i], parts[i + 1])
            if claim is not None:
                found.append(claim)
    return found


def plain(text: str) -> str:
    """LaTeX and signs as plain arithmetic, units left out."""
    text = _TEXT.sub(" ", _BOLD.sub("", text))
    for _ in range(4):
        text = _FRACTION.sub(r"((\1)/(\2))", text)
        text = _BOXED.sub(r" \1 ", _ROOT.sub(r"((\1)**0.5)", text))
    text = _SHORT_FRACTION.sub(r"(\1/\2)", text)
    text = _POWER.sub(lambda m: f"**({m[1] or m[2]})", text)
    for sign, meaning in _SIGNS.items():
        text = text.replace(sign, meaning)
    text = _PERCENT_OF.sub(r"(\1/100) *", _THOUSANDS.sub("", text))
    return _UNIT.sub(_unit, _TIMES.sub(" * ", text))


def arithmetic(case: Case) -> Floats:
    """Columns `COLUMNS` of every step: (steps, 6).

    `wrong`: equations that do not hold, log(1 + n); `checked`: equations valued, log(1 + n); `off`: the largest
    relative difference, at most 1; `unfounded`: numbers of the step that neither the problem nor an earlier step nor
    an equation that holds contains, log(1 + n); `first_...`: the first step of which that is true.
    """
    known = {_norm(one) for one in _NUMBER.findall(plain(case.question))}
    rows = []
    for step in case.steps:
        stated = claims(step.text)
        bad = [one for one in stated if not one.holds]
        off = max((min(1.0, abs(one.left - one.right) / max(abs(one.left), 1e-9)) for one in bad), default=0.0)
        said = {_norm(one) for one in _NUMBER.findall(plain(step.text))}
        right = {round(value, 6) for one in stated if one.holds for value in (one.left, one.right)}
        unfounded = {value for value in said - known - right if value not in (0, 1, 2, 10, 100)}
        rows.append([len(bad), 0.0, len(stated), len(unfounded), 0.0, off])
        known |= said
    result = np.array(rows, dtype=float).reshape(len(rows), len(COLUMNS))
    for place, column in ((1, 0), (4, 3)):
        hits = np.flatnonzero(result[:, column])
        if len(hits):
            result[hits[0], place] = 1.0
    result[:, [0, 2, 3]] = np.log1p(result[:, [0, 2, 3]])
    return result


def _claim(before: str, sign: str, after: str) -> Claim | None:
    left = (_LEFT.search(before) or [""])[0]
    right = (_RIGHT.search(after) or [""])[0]
    rest_left, rest_right = before[: len(before) - len(left)], after[len(right) :]
    left, right = _balanced(left, rest_left, front=True), _balanced(right, rest_right, front=False)
    if not left or not right or not (_operated(left) or _operated(right)):
        return None
    try:
        one, two = float(evaluate(left)), float(evaluate(right))
    except (CalculationError, OverflowError, ValueError):
        return None
    if not (math.isfinite(one) and math.isfinite(two)):
        return None
    holds = any(_close(one * scale, two, left, right, sign) for scale in (1.0, 100.0 if "%" in after + before else 1.0))
    return Claim(one, two, holds)


def _balanced(side: str, rest: str, *, front: bool) -> str:
    """The side as an expression of its own; empty where it hangs on something that could not be read."""
    side = side.replace("%", "").strip()
    neighbour = rest.rstrip()[-1:] if front else rest.lstrip()[:1]
    if side.count("(") != side.count(")"):
        return ""
    hangs = neighbour.isalnum() or neighbour in set("\\^_{}()|!")
    if front and (hangs or side[:1] in set("*/+)") or (side[:1] == "-" and neighbour)):
        return ""
    if not front:
        side = side.rstrip(". ")
        if hangs or side[-1:] in set("+-*/("):
            return ""
    return side


def _close(one: float, two: float, left: str, right: str, sign: str) -> bool:
    decimals = max((len(found.partition(".")[2]) for found in _NUMBER.findall(f"{left} {right}")), default=0)
    written = [len(found.partition(".")[2]) for found in (left, right) if not _operated(found) and "." in found]
    slack = 10.0 ** -min(written) if written else (10.0**-decimals if decimals else 0.0)
    if sign == "≈":
        slack = max(slack, 0.5, 0.02 * abs(one))
    return abs(one - two) <= slack + 1e-6 * max(abs(one), abs(two))


def _operated(side: str) -> bool:
    return re.search(r"[\d)]\s*[-+*/]", side) is not None


def _unit(match: re.Match[str]) -> str:
    """Words fall away; what looks like a product of variables stays, so that nothing is valued around it."""
    word = match.group()
    return word if len(word.strip()) == 2 and word.islower() and word.isalpha() and word in _PRODUCTS else " "


_PRODUCTS = frozenset(["ab", "bc", "ac", "xy", "yz", "xz", "pq", "mn", "rs", "st", "uv", "ax", "bx", "cx", "by", "ay"])


def _norm(number: str) -> float:
    return round(float(number), 6)
