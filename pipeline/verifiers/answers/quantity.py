"""The quantities in a text: numbers with their scale, per cent and unit, dates, times, and lists of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal, DecimalException
from itertools import pairwise
from typing import NamedTuple

from apportion.pipeline.trajectory.answer import boxed
from apportion.pipeline.verifiers.answers.expression import ARITHMETIC, NUMBER, Reader, UnreadableError, literal, tidy
from apportion.pipeline.verifiers.answers.moments import MOMENT, Moment, moment
from apportion.pipeline.verifiers.answers.units import CODES, MONEY, Unit, named

TAIL = 4000
"""Characters of a text that are read, counted from its end: bounds the time that hostile text can take."""

_TOKEN = re.compile(
    rf"(?P<number>{NUMBER}(?:[eE][+-]?\d+)?)(?:(?:st|nd|rd|th)\b)?|(?P<command>\\[A-Za-z]+)"
    r"|(?P<word>[A-Za-z][A-Za-z0-9_]*(?:\.\d+)*|[^\W\d_A-Za-z]+)|(?P<mark>\S)"
)
_SPACED = re.compile(r"^(\D*)(\d{1,3}(?: \d{3})+)(?=(?:[.,]\d+)?\D*$)")
_SCALES = {
    "hundred": 2, "thousand": 3, "thousands": 3, "million": 6, "millions": 6, "mn": 6, "mln": 6, "mio": 6,
    "billion": 9, "billions": 9, "bn": 9, "trillion": 12, "trillions": 12, "tn": 12, "lakh": 5, "lakhs": 5,
    "crore": 7, "crores": 7, "万": 4, "萬": 4, "亿": 8, "億": 8, "千": 3, "百": 2,
}  # fmt: skip
_LETTERS = {"k": 3, "K": 3, "M": 6, "B": 9, "T": 12}
_BEFORE_A_LIST = (
    "is", "are", "be", "was", "were", "answer", "answers", "between", "from", "either", "solutions", "roots", "values",
    "equals", "equal", "about", "approximately",
)  # fmt: skip
_BOUNDS = ("<", ">", "≤", "≥")
_SUBTRACTS = (".", ")", "]", "}", "%", "°")
_TEMPERATURES = ("c", "f", "celsius", "fahrenheit")
_OPENING = ("(", "[", "{", "*", '"', "'", "$")
_CLOSING = (")", "]", "}", "*", '"', "'")


@dataclass(frozen=True)
class Quantity:
    """A number as written: `value` (50 for "50%", 5000000 for "5 million"), whether it is per cent, what its unit may
    mean (nothing where none is known), and the sign of a bound before it; or a date or time."""

    value: Decimal
    percent: bool = False
    units: tuple[Unit, ...] = ()
    bound: str = ""
    moment: Moment | None = None


@dataclass(frozen=True)
class Reading:
    """What a text says: its quantities, whether "and" or "or" leaves their order open, and the one number that two of
    them are where the comma between is a decimal one (3,14)."""

    quantities: tuple[Quantity, ...]
    unordered: bool = False
    joined: Quantity | None = None


class _Item(NamedTuple):
    """Quantities that one expression gives (several for the range 10-20), and the tokens that they take."""

    quantities: tuple[Quantity, ...]
    start: int
    end: int


class Quantities(Reader):
    """The quantities of a text, found from its start to its end.

    A worked solution is read from its last \\boxed{...}, or from behind its last "####".
    """

    def __init__(self, text: str) -> None:
        tokens, self._moments = _tokens(tidy(_shortened(text)))
        super().__init__(tokens)
        self._items = list(self._found())

    def whole(self, words: bool = False) -> Reading | None:
        """The last quantity, with the others of its list, range or ratio; None where there is none.

        A list is taken as one where it is the answer ("2, 3", "the roots are 2 and 3"), and not in the middle of prose
        ("in 2021, 35 people"). With `words`, names may stand in it: 5 apples and 3 pears.
        """
        if not self._items:
            return None
        chain = self._chain(words)
        if len(chain) > 1 and not self._is_answer(chain):
            chain = [item for at, item in enumerate(chain) if all(self._tight(a, b) for a, b in _steps(chain[at:]))]
        return self._reading(chain)

    def last(self, count: int) -> Reading | None:
        """The list of names and numbers that ends the text, else its last `count` quantities; None where fewer."""
        chain = self._chain(True)
        if sum(len(item.quantities) for item in chain) == 1:
            chain = self._items[-count:]
        return self._reading(chain) if chain else None

    def _reading(self, chain: list[_Item]) -> Reading:
        quantities = tuple(quantity for item in chain for quantity in item.quantities)
        between = [self.text(at).lower() for a, b in _steps(chain) for at in range(a.end, b.start)]
        joined = None
        if len(chain) == 2 and between == [","] and self._tight(*chain):
            texts = [self.text(chain[0].end - 1), self.text(chain[1].start)]
            if all(text.isdigit() for text in texts) and len(chain[0].quantities) == 1:
                value = Decimal(".".join(texts)).copy_sign(quantities[0].value)
                joined = replace(quantities[-1], value=value)
        return Reading(quantities, "and" in between or "or" in between, joined)

    def _chain(self, words: bool) -> list[_Item]:
        """The last item and those before it that separators alone stand between."""
        chain = self._items[-1:]
        for item in reversed(self._items[:-1]):
            if not self._separated(item, chain[0], words):
                break
            chain.insert(0, item)
        return chain

    def _separated(self, first: _Item, second: _Item, words: bool) -> bool:
        between = list(range(first.end, second.start))
        named = 0
        while words and between and named < 2 and self.kind(between[0]) == "word" and not self._joins(between[0]):
            between, named = between[1:], named + 1
        texts = [self.text(at).lower() for at in between if self.text(at) not in (*_OPENING, *_CLOSING)]
        if not texts and not self.gap(second.start):  # the minutes of 30°15'
            return True
        if len(texts) > 1 and texts[-1] == "=" and len(texts[-2]) == 1:
            texts = texts[:-2]
        return " ".join(texts) in {
            ",", ";", "and", "or", "&", "to", "through", "-", "–", "—", "±", ", and", ", or", "; and", "; or",
            "×", "x", "by", "+",
        }  # fmt: skip

    def _joins(self, at: int) -> bool:
        return self.text(at).lower() in ("and", "or", "to", "through")

    def _tight(self, first: _Item, second: _Item) -> bool:
        """Whether nothing but marks stands between, without a space: 1,2 and 5-3."""
        return not any(self.gap(at) or self.kind(at) == "word" for at in range(first.end, second.start + 1))

    def _is_answer(self, chain: list[_Item]) -> bool:
        before = chain[0].start - 1
        while self.text(before) in _OPENING:
            before -= 1
        opens = before < 0 or self.text(before) in (":", "=", "#", "~", "≈", *_BOUNDS)
        named = self.text(before).removeprefix("\\").lower() in _BEFORE_A_LIST
        rest = sum(self.kind(at) == "word" for at in range(chain[-1].end, len(self.tokens)))
        return (opens or named) and rest <= 1

    def _found(self) -> Iterator[_Item]:
        at = 0
        last: _Item | None = None
        while at < len(self.tokens):
            item = self._item(at)
            if item is None:
                at = self._passed(at)
                continue
            at = item.end
            whole = self._compound(last, item) if last else None
            if last and whole is None:
                yield last
            last = whole or item
        if last:
            yield last

    def _passed(self, at: int) -> int:
        """The place behind a token that is no quantity, with its power or index: the 2 of x^2 and x_2 is none."""
        behind = at + 1
        while self.text(behind) in ("^", "_") and not self.gap(behind) and self.kind(at) in ("word", "command"):
            try:
                _, behind = self.base(behind + 1 + (self.text(behind + 1) == "-"), 0)
            except UnreadableError:
                return behind + 1
        return behind

    def _item(self, at: int) -> _Item | None:
        """The item that begins at a token; None where none does."""
        start, bound = at, self.text(at - 1) if self.text(at - 1) in _BOUNDS else ""
        if self.kind(at) == "moment":
            return _Item((Quantity(Decimal(0), moment=self._moments[int(self.text(at))]),), at, at + 1)
        money, at = self._money(at)
        negative, both, at = self._sign(at)
        if not money:
            money, at = self._money(at)
        try:
            values, at = self.sum(at)
        except UnreadableError:
            return None
        scale, at = self._scale(at, bool(money))
        percent, at = self._percent(at)
        units, at = self._units(at)
        factor = scale * (percent or 1)
        try:
            numbers = [ARITHMETIC.multiply(value.value, factor) if factor != 1 else value.value for value in values]
        except DecimalException:
            return None
        if negative:
            numbers[0] = numbers[0].copy_negate()
        if both:
            numbers = [numbers[0], numbers[0].copy_negate(), *numbers[1:]]
        found = tuple(Quantity(number, percent is not None, money or units, bound) for number in numbers)
        return _Item(found, start, at)

    def _money(self, at: int) -> tuple[tuple[Unit, ...], int]:
        if self.text(at) in MONEY or self.text(at) in CODES:
            return named(self.text(at)), at + 1
        if self.text(at) == "US" and self.text(at + 1) == "$":
            return named("$"), at + 2
        return (), at

    def _sign(self, at: int) -> tuple[bool, bool, int]:
        """(negative, both signs, the place behind). A minus tight behind a word or a bracket subtracts, and one with a
        space behind it is a dash."""
        text = self.text(at)
        if text.lower() in ("minus", "negative"):
            return True, False, at + 1
        if text == "±":
            return False, True, at + 1
        before = self.text(at - 1)
        free = at == 0 or self.gap(at) or not (self.kind(at - 1) in ("word", "number") or before in _SUBTRACTS)
        if text in ("-", "–") and free and (not self.gap(at + 1) or before == "="):
            return True, False, at + 1
        return False, False, at + 1 if text == "+" and not self.gap(at + 1) else at

    def _scale(self, at: int, money: bool) -> tuple[Decimal, int]:
        power = 0
        letter = _LETTERS.get(self.text(at)) or (6 if money and self.text(at) == "m" else None)
        if letter and (money or not self.gap(at) or letter == 6):
            return Decimal(1).scaleb(letter), at + 1
        if self.text(at) == "k" and self.gap(at):
            return Decimal(1000), at + 1
        if self.text(at).lower() == "dozen":
            return Decimal(12), at + 1
        while self.text(at).lower() in _SCALES:
            power, at = power + _SCALES[self.text(at).lower()], at + 1
        return Decimal(1).scaleb(power), at

    def _percent(self, at: int) -> tuple[Decimal | None, int]:
        """(what one of the unit is in per cent, the place behind); None where it is none."""
        text = self.text(at).lower()
        if text == "per" and self.text(at + 1).lower() == "cent":
            return Decimal(1), at + 2
        if text == "‰":
            return Decimal("0.1"), at + 1
        if text not in ("%", "percent", "pct", "percentage"):
            return None, at
        return Decimal(1), at + (2 if self.text(at + 1).lower() in ("point", "points") else 1)

    def _units(self, at: int) -> tuple[tuple[Unit, ...], int]:
        """(what the unit behind a number may mean, the place behind it): 16 cm^2, 60 miles per hour, a 16-inch pipe."""
        start = at + 1 if self.text(at) == "-" and not self.gap(at) and self.kind(at + 1) == "word" else at
        found, behind = self._unit(start)
        if not found:
            return (), at
        while True:
            factor, below = self._factor(behind)
            if factor:
                found, behind = tuple(unit.times(factor) for unit in found), below
                continue
            if self.text(behind).lower() not in ("/", "per"):
                break
            amount, below = Decimal(1), behind + 1
            if self.kind(below) == "number":
                amount, below = literal(self.text(below)), below + 1
            under, below = self._unit(below)
            if not under or not amount:
                break
            ratio = replace(under[0], factor=under[0].factor * amount).power(-1)
            found, behind = tuple(unit.times(ratio) for unit in found), below
        return found, behind

    def _factor(self, at: int) -> tuple[Unit | None, int]:
        """A unit that multiplies the one before it: N·m, m s^-1."""
        if self.text(at) in ("·", "×"):
            found, behind = self._unit(at + 1)
            return (found[0], behind) if found else (None, at)
        powers = (self.text(at + 1), self.text(at + 2), self.text(at + 3))
        if powers[0] == "^" and "-" in powers:
            found, behind = self._unit(at)
            return (found[0], behind) if found else (None, at)
        return None, at

    def _unit(self, at: int) -> tuple[tuple[Unit, ...], int]:
        """One unit with its power."""
        power = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}.get(self.text(at).lower(), 1)
        if power > 1:
            at += 2 if self.text(at + 1) == "." else 1
        name, behind = self.text(at), at + 1
        if name in ("°", "deg", "degree", "degrees") and self.text(behind).lower() in _TEMPERATURES:
            name, behind = self.text(behind), behind + 1
        # "16 in total" is no length.
        if name.lower() == "in" and self.kind(behind) in ("word", "number"):
            return (), at
        found = named(name)
        if found and self.text(behind) == "^" and not self.gap(behind):
            braced = self.text(behind + 1) == "{"
            sign = -1 if self.text(behind + 1 + braced) == "-" else 1
            digit = behind + 1 + braced + (sign < 0)
            if self.text(digit) in ("1", "2", "3", "4"):
                power, behind = sign * int(self.text(digit)), digit + 1 + braced
        return tuple(unit.power(power) for unit in found), behind

    def _compound(self, first: _Item, second: _Item) -> _Item | None:
        """5 ft 3 in, or 2 hours and 30 minutes, as one quantity; None where they are two."""
        between = " ".join(self.text(at).lower() for at in range(first.end, second.start))
        if between not in ("", ",", "and", ", and") or len(first.quantities) + len(second.quantities) > 2:
            return None
        whole, part = first.quantities[0], second.quantities[0]
        for one in whole.units:
            for other in part.units:
                if one.dimensions == other.dimensions and other.factor < one.factor and part.value >= 0:
                    more = ARITHMETIC.divide(ARITHMETIC.multiply(part.value, other.factor), one.factor)
                    value = ARITHMETIC.add(whole.value.copy_abs(), more).copy_sign(whole.value)
                    return _Item((replace(whole, value=value, units=(one,)),), first.start, second.end)
        return None


def _steps(chain: list[_Item]) -> list[tuple[_Item, _Item]]:
    return list(pairwise(chain))


def _shortened(text: str) -> str:
    """The end of a text, or what it marks as its answer."""
    tail = text[-TAIL:]
    if len(text) > TAIL:  # a number that is cut would be another number
        tail = re.sub(r"^[\d.,]*", "", tail)
    for part in (boxed(tail), tail.rpartition("####")[2] if "####" in tail else None):
        if part and re.search(r"\d|π|\\pi", part):
            return part
    return tail


def _tokens(text: str) -> tuple[list[tuple[str, str, bool]], list[Moment]]:
    """The tokens of a text as (kind, text, white space before), and the moments that those of kind "moment" number."""
    # "1 234 km" is one number where there are no others; among others it may be two.
    text = _SPACED.sub(lambda match: match[1] + match[2].replace(" ", ""), text)
    tokens: list[tuple[str, str, bool]] = []
    moments: list[Moment] = []
    at = 0
    spans = [(match, found) for match in MOMENT.finditer(text) if (found := moment(match))]
    for match, found in [*spans, (None, None)]:
        end = match.start() if match else len(text)
        for token in _TOKEN.finditer(text, at, end):
            gap = token.start() > 0 and text[token.start() - 1].isspace()
            kind = str(token.lastgroup)
            tokens.append((kind, token[kind], gap or not token.start()))
        if match and found:
            tokens.append(("moment", str(len(moments)), match.start() == 0 or text[match.start() - 1].isspace()))
            moments.append(found)
            at = match.end()
    return tokens, moments
