"""Numbers and arithmetic as people and models write them: 1,234.5  5 x 10^8  2\\sqrt{3}  1 1/2  \\frac{\\pi}{4}.

Values are decimals of 50 digits whose exponents may be huge, so that 10^10^10 costs nothing and nothing can hang.
"""

from __future__ import annotations

import decimal
import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

DEEPEST = 12
"""Brackets, powers and arguments within each other that are read: bounds the time that hostile text can take."""

ARITHMETIC = decimal.Context(
    prec=50,
    Emax=decimal.MAX_EMAX,
    Emin=decimal.MIN_EMIN,
    traps=[decimal.Overflow, decimal.InvalidOperation, decimal.DivisionByZero],
)
PI = Decimal("3.14159265358979323846264338327950288419716939937510582")

_RAISED = re.compile("[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_RAISED_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_VULGAR = re.compile(r"(\d?)\s?([¼-¾⅐-⅞])")
_GROUPS = re.compile(r"(?<=\d)(?:[\u00a0\u202f\u2009]|\\[,;:! ]|\{,\}(?=\d{3}))(?=\d{3}(?!\d))")
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"</?[A-Za-z][^<>]{0,100}>", " "),
        (r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|quad|qquad)(?![A-Za-z])|\\[()\[\],;:! ]", " "),
        (r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|boldsymbol|operatorname|rm)\s*\{([^{}]{0,200})\}", r" \1 "),
        (r"\\([%$#&_])", r"\1"),
        (r"\^\{?\s*\\circ\s*\}?|\\degree(?![A-Za-z])", "°"),
        (r"\{,\}", ","),
        (r"(?<![\\$])\$([^$\n]*)\$(?!\d)", r" \1 "),
        (r"(?<=\d)\s?\*\*\s?(?=[\d(-])", "^"),
        (r"\*\*+|`+|__+", " "),
        (r"(?<=\d)\s?['\u2032]\s?(\d{1,2})\s?(?:[\"\u2033]|\u2032\u2032|'')", r" ft \1 in"),
        (r"(?<=\d)\s?[xX]\s?(?=\d)|\\times(?![A-Za-z])|\\cdot(?![A-Za-z])", "×"),
        (r"\\div(?![A-Za-z])", "÷"),
        (r"\\pm(?![A-Za-z])|\+/-|\+-", "±"),
        (r"\\approx(?![A-Za-z])|\\(?:to|rightarrow|implies|Rightarrow)(?![A-Za-z])|[=-]>", " = "),
        (r"\\geq?(?![A-Za-z])|>=", "≥"),
        (r"\\leq?(?![A-Za-z])|<=", "≤"),
        (r"\\[{}]", " "),
        (r"\s+\^", "^"),
        (r"\\[dtc]?frac(?=[^A-Za-z])", r"\\frac"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"\\sqrt\s*(\d)", r"\\sqrt{\1}"),
    )
)
NUMBER = (
    r"(?:\d{1,3}(?:\.\d{3})+,\d+(?!\d)|\d{1,3}(?:\.\d{3}){2,}(?![\d.])|\d{1,3}(?:\ \d{3})+,\d+(?!\d)"
    r"|\d{1,3}(?:['’]\d{3})+(?!\d)(?:\.\d+)?|\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?"
    r"|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)(?:\.\d+)?|\d+(?:_\d{3})*(?:\.\d+)?|\.\d+)"
)
_FUNCTIONS: dict[str, Callable[[Decimal], Decimal]] = {
    "ln": ARITHMETIC.ln,
    "log": ARITHMETIC.log10,
    "exp": ARITHMETIC.exp,
    **{
        name: lambda value, function=function: Decimal(function(float(value)))  # type: ignore[misc]
        for name, function in {"sin": math.sin, "cos": math.cos, "tan": math.tan, "arctan": math.atan}.items()
    },
}


_SIGNS: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    **dict.fromkeys("×·*", ARITHMETIC.multiply),
    **dict.fromkeys("/÷", ARITHMETIC.divide),
    "mod": ARITHMETIC.remainder,
}
_ROOTS = {"square": 2, "cube": 3, "cubic": 3, "fourth": 4}
_POWERS = {"squared": 2, "cubed": 3}


class UnreadableError(ValueError):
    """Text that is no arithmetic."""


@dataclass(frozen=True)
class Value:
    """The value of an expression; `plain` where it is a single literal (a term of 10-20, which is a range)."""

    value: Decimal
    plain: bool = False


def tidy(text: str) -> str:
    """`text` with one way of writing a minus, a product, a power, a fraction; without LaTeX's and Markdown's dress."""
    plain = _RAISED.sub(lambda match: "^" + match[0].translate(_RAISED_DIGITS), _GROUPS.sub("", text))
    plain = _VULGAR.sub(lambda match: f"{match[1]} {unicodedata.normalize('NFKC', match[2])}", plain)
    plain = unicodedata.normalize("NFKC", plain.replace("\N{MASCULINE ORDINAL INDICATOR}", "°")).replace(
        "\N{FRACTION SLASH}", "/"
    )
    plain = plain.replace("\N{MINUS SIGN}", "-").replace("\N{HYPHEN}", "-").replace("\N{NON-BREAKING HYPHEN}", "-")
    for pattern, replacement in _REWRITES:
        plain = pattern.sub(replacement, plain)
    return plain


def literal(text: str) -> Decimal:
    """The value of a text that NUMBER matches, with or without an exponent."""
    number, mark, exponent = text.lower().partition("e")
    number = re.sub(r"[\s'’_]", "", number)
    if "," in number and (number.rfind(",") > number.rfind(".") and (number.count(".") or _is_decimal_comma(text))):
        number = number.replace(".", "").replace(",", ".")
    elif number.count(".") > 1:
        number = number.replace(".", "")
    return Decimal(number.replace(",", "") + (mark + exponent if mark else ""))


def _is_decimal_comma(text: str) -> bool:
    return " " in text


class Reader:
    """Reads expressions from the tokens of a text, each a (kind, text, gap) with kinds number, word, command, mark."""

    def __init__(self, tokens: list[tuple[str, str, bool]]) -> None:
        self.tokens = tokens
        self._closed = _closed(tokens)

    def kind(self, at: int) -> str:
        return self.tokens[at][0] if 0 <= at < len(self.tokens) else ""

    def text(self, at: int) -> str:
        return self.tokens[at][1] if 0 <= at < len(self.tokens) else ""

    def gap(self, at: int) -> bool:
        """Whether white space stands before the token."""
        return self.tokens[at][2] if 0 <= at < len(self.tokens) else True

    def sum(self, at: int, depth: int = 0) -> tuple[list[Value], int]:
        """(the value of a sum or difference; the place behind it). Literals with minus signs between, as 10-20, are a
        range: all their values. Raises UnreadableError."""
        first, at = self.product(at, depth)
        terms, signs = [first], []
        while self.text(at) in ("+", "-", "–", "—") and self.gap(at) == self.gap(at + 1):
            try:
                term, behind = self.product(at + 1, depth)
            except UnreadableError:
                break
            signs.append("+" if self.text(at) == "+" else "-")
            terms.append(term)
            at = behind
        if len(terms) == 1 or ("+" not in signs and all(term.plain for term in terms)):
            return terms, at
        total = first.value
        for sign, term in zip(signs, terms[1:], strict=True):
            total = (ARITHMETIC.add if sign == "+" else ARITHMETIC.subtract)(total, term.value)
        return [Value(total)], at

    def product(self, at: int, depth: int) -> tuple[Value, int]:
        """(the value of factors with × · / between, or side by side as in 2\\sqrt{3}; the place behind)."""
        first, at = self.mixed(at, depth)
        value, plain = first.value, first.plain
        while True:
            sign, start = self.text(at), at + 1
            if sign in _SIGNS:
                combine = _SIGNS[sign]
            elif not self.gap(at) and self._continues(at):
                combine, start = ARITHMETIC.multiply, at
            else:
                return Value(value, plain), at
            try:
                factor, behind = self.power(start, depth)
            except UnreadableError:
                return Value(value, plain), at
            try:
                value = combine(value, factor.value)
            except decimal.DecimalException as error:
                raise UnreadableError(str(error)) from error
            at, plain = behind, False

    def mixed(self, at: int, depth: int) -> tuple[Value, int]:
        """A power, or a whole number with a fraction below 1 behind it: 1 1/2, 2\\frac{1}{2}."""
        first, behind = self.power(at, depth)
        if not (first.plain and self.text(at).isdigit()):
            return first, behind
        over = [self.text(behind), self.text(behind + 2)]
        if self.text(behind + 1) == "/" and self.gap(behind) and not (self.gap(behind + 1) or self.gap(behind + 2)):
            end = behind + 3
        elif self.text(behind) == "\\frac":
            over, end = [self.text(behind + 2), self.text(behind + 5)], behind + 7
            if self.text(behind + 3) + self.text(behind + 4) != "}{":
                return first, behind
        else:
            return first, behind
        if not all(part.isdigit() for part in over) or not 0 < literal(over[0]) < literal(over[1]):
            return first, behind
        return Value(ARITHMETIC.add(first.value, ARITHMETIC.divide(literal(over[0]), literal(over[1])))), end

    def power(self, at: int, depth: int) -> tuple[Value, int]:
        """A base and its exponents, from the right: 10^10^10 is 10^(10^10)."""
        base, at = self.base(at, depth)
        if base.plain and (worded := self._worded(at)):
            try:
                return Value(ARITHMETIC.power(base.value, worded[0])), worded[1]
            except decimal.DecimalException as error:
                raise UnreadableError(str(error)) from error
        if self.text(at) != "^" or self.gap(at):
            return base, at
        start = at + 1
        negative = self.text(start) == "-"
        exponent, at = self.power(start + negative, depth + 1)
        value = exponent.value.copy_negate() if negative else exponent.value
        try:
            return Value(ARITHMETIC.power(base.value, value)), at
        except decimal.DecimalException as error:
            raise UnreadableError(str(error)) from error

    def _worded(self, at: int) -> tuple[Decimal, int] | None:
        """(an exponent in words, the place behind it): squared, cubed, to the power of 8, to the 8th power."""
        word = self.text(at).lower()
        if word in _POWERS:
            return Decimal(_POWERS[word]), at + 1
        at += word == "raised"
        words = [self.text(place).lower() for place in range(at, at + 4)]
        if words[:3] != ["to", "the", "power"]:
            behind = at + 4
            is_power = words[:2] == ["to", "the"] and words[3] == "power" and self.kind(at + 2) == "number"
            return (literal(words[2]), behind) if is_power else None
        at += 3 + (words[3] == "of")
        sign, at = (-1, at + 1) if self.text(at) == "-" else (1, at)
        return (literal(self.text(at)) * sign, at + 1) if self.kind(at) == "number" else None

    def base(self, at: int, depth: int) -> tuple[Value, int]:
        """A literal, a fraction, a root, a constant, a function, or an expression in brackets."""
        if depth > DEEPEST:
            raise UnreadableError("too deep")
        kind, text = self.kind(at), self.text(at)
        name = text.removeprefix("\\")
        try:
            if kind == "number":
                return Value(literal(text), plain=True), at + 1
            if text in ("(", "{"):
                return self.group(at, depth)
            if text == "\\frac":
                above, at = self.argument(at + 1, depth)
                below, at = self.argument(at, depth)
                return Value(ARITHMETIC.divide(above.value, below.value)), at
            if name in ("√", "sqrt"):
                return self._root(at + 1, depth)
            if name in ("π", "pi"):
                return Value(PI), at + 1
            if name == "e" and self.text(at + 1) == "^":
                return Value(ARITHMETIC.exp(Decimal(1))), at + 1
            if name in _FUNCTIONS and (kind == "command" or self.text(at + 1) == "(" or self.kind(at + 1) == "number"):
                return self._function(name, at + 1, depth)
            if name.startswith("log_") and name[4:].isdigit():
                value, at = self.argument(at + 1, depth)
                return Value(ARITHMETIC.divide(ARITHMETIC.log10(value.value), ARITHMETIC.log10(literal(name[4:])))), at
            if name.lower() in _ROOTS and [self.text(at + 1).lower(), self.text(at + 2).lower()] == ["root", "of"]:
                value, at = self.base(at + 3, depth + 1)
                degree = ARITHMETIC.divide(Decimal(1), Decimal(_ROOTS[name.lower()]))
                return Value(ARITHMETIC.power(value.value, degree)), at
        except (decimal.DecimalException, OverflowError) as error:
            raise UnreadableError(str(error)) from error
        raise UnreadableError(text)

    def _function(self, name: str, at: int, depth: int) -> tuple[Value, int]:
        scale = Decimal(1)
        if name == "log" and self.text(at) == "_":
            base, at = self.base(at + 1, depth + 1)
            scale = ARITHMETIC.log10(base.value)
        value, at = self.argument(at, depth)
        return Value(ARITHMETIC.divide(_FUNCTIONS[name](value.value), scale)), at

    def group(self, at: int, depth: int) -> tuple[Value, int]:
        """What stands in brackets, which must be one value."""
        if at not in self._closed:
            raise UnreadableError("open bracket")
        closing = self._closed[at]
        start = at + 1
        negative = self.text(start) == "-"
        values, at = self.sum(start + negative, depth + 1)
        if at != closing:
            raise UnreadableError("more than one value")
        total = values[0].value
        for other in values[1:]:
            total = ARITHMETIC.subtract(total, other.value)
        return Value(total.copy_negate() if negative and len(values) == 1 else total), at + 1

    def argument(self, at: int, depth: int) -> tuple[Value, int]:
        """The argument of a LaTeX command: in braces, or the next value. (\\frac12 is cut by the tokenizer.)"""
        return self.power(at, depth + 1) if self.text(at) != "-" else self._negated(at, depth)

    def _negated(self, at: int, depth: int) -> tuple[Value, int]:
        value, at = self.power(at + 1, depth + 1)
        return Value(value.value.copy_negate()), at

    def _root(self, at: int, depth: int) -> tuple[Value, int]:
        degree = Decimal(2)
        if self.text(at) == "[" and self.kind(at + 1) == "number" and self.text(at + 2) == "]":
            degree, at = literal(self.text(at + 1)), at + 3
        value, at = self.base(at, depth + 1)
        if degree == 2:
            return Value(ARITHMETIC.sqrt(value.value)), at
        return Value(ARITHMETIC.power(value.value, ARITHMETIC.divide(Decimal(1), degree))), at

    def _continues(self, at: int) -> bool:
        """Whether a factor stands right behind another: 2π, 3\\sqrt{2}, 2(1 + \\sqrt{5}); 16(2) is a footnote."""
        name = self.text(at).removeprefix("\\")
        if name in ("√", "sqrt", "π", "pi") or self.text(at) == "\\frac" or self.text(at) in ("\\ln", "\\log"):
            return True
        return self.text(at) == "(" and any(self.text(inner) in ("+", "\\sqrt", "√") for inner in range(at + 1, at + 4))


def _closed(tokens: list[tuple[str, str, bool]]) -> dict[int, int]:
    """The place of the closing bracket of each opening one that has one."""
    pairs, opened = {}, []
    for at, (_, text, _) in enumerate(tokens):
        if text in ("(", "{"):
            opened.append((at, ")" if text == "(" else "}"))
        elif text in (")", "}"):
            while opened and opened[-1][1] != text:
                opened.pop()
            if opened:
                pairs[opened.pop()[0]] = at
    return pairs
