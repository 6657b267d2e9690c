"""The quantity that an answer ends with, compared whole: number, scale, per cent, unit, date, list."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, DecimalException
from functools import cached_property
from typing import ClassVar

from pydantic import Field

from apportion.pipeline.verifiers.answers.expression import ARITHMETIC
from apportion.pipeline.verifiers.answers.moments import same_moment
from apportion.pipeline.verifiers.answers.quantity import Quantities, Quantity, Reading
from apportion.pipeline.verifiers.base import Verdict, Verifier, binary

RELATIVE_TOLERANCE = 1e-6


class Number(Verifier):
    """outcome = 1 if the quantity that ends the answer equals that of any reference, else 0.

    The usual rule for GSM8K, of whole quantities: 5 million, 27.38 %, 5 x 10^8, 2\\sqrt{3}, 16 cm^2, 3:30, 2021-03-04,
    and of lists, ranges and ratios all their numbers. A unit may be left out; two of one kind are converted (16 km is
    16000 m), two of different kinds differ. 50 % agrees with 50 and with 0.5: data sets write it either way. By default
    whole numbers must be equal, and others within a relative 1e-6; `relative` (a share of the reference) and `absolute`
    (in its unit) hold for whole numbers too, and meeting one of them is enough. A text without a number never matches.
    Status: ours; the last number alone, the usual rule, takes 5 million for 5 and 16 km for 16 m.
    """

    name: ClassVar[str] = "number"

    relative: float | None = Field(None, ge=0, le=1, strict=True)
    """Tolerance as a share of the reference. Without any, whole numbers must be equal, others within 1e-6."""
    absolute: float | None = Field(None, ge=0, le=1e15, strict=True)
    """Tolerance in the reference's unit; meeting one of the two is enough."""

    def verify(self, answer: str, references: Sequence[str]) -> Verdict:
        """The verdict on the last quantity that `answer` holds."""
        said = Quantities(answer)
        return binary(any(self._matches(said, Quantities(reference).whole(words=True)) for reference in references))

    @cached_property
    def _exact_relative(self) -> Decimal:
        return Decimal(RELATIVE_TOLERANCE if self.relative is None else self.relative)

    @cached_property
    def _exact_absolute(self) -> Decimal:
        return Decimal(self.absolute or 0)

    def _matches(self, answer: Quantities, reference: Reading | None) -> bool:
        if reference is None:
            return False
        readings = [answer.whole()]
        if len(reference.quantities) > 1:
            readings.append(answer.last(len(reference.quantities)))
        return any(self.same(reading, reference) for reading in readings if reading)

    def same(self, answer: Reading, reference: Reading) -> bool:
        """Whether two readings agree in every quantity; a comma between two numbers may be a decimal one."""
        pairs = [(answer.quantities, reference.quantities)]
        if answer.joined:
            pairs.append(((answer.joined,), reference.quantities))
        if reference.joined:
            pairs.append((answer.quantities, (reference.joined,)))
        unordered = answer.unordered and reference.unordered
        return any(self._all_same(said, wanted, unordered) for said, wanted in pairs)

    def _all_same(self, said: Sequence[Quantity], wanted: Sequence[Quantity], unordered: bool) -> bool:
        if len(said) != len(wanted):
            said, wanted = _spread(said), _spread(wanted)
        if len(said) != len(wanted):
            return False
        if all(self._same(one, other) for one, other in zip(said, wanted, strict=True)):
            return True
        if not unordered:
            return False
        left = list(wanted)
        for one in said:
            match = next((other for other in left if self._same(one, other)), None)
            if match is None:
                return False
            left.remove(match)
        return True

    def _same(self, answer: Quantity, reference: Quantity) -> bool:
        try:
            return self._agree(answer, reference)
        except DecimalException:  # beyond the largest exponent there is
            return False

    def _agree(self, answer: Quantity, reference: Quantity) -> bool:
        if answer.moment and reference.moment:
            return same_moment(answer.moment, reference.moment)
        if answer.moment or reference.moment:
            return _is_year(answer, reference)
        if answer.bound and reference.bound and answer.bound != reference.bound:
            return False
        if answer.percent or reference.percent:
            return self._same_share(answer, reference)
        if not answer.units or not reference.units:
            return self._close(answer.value, reference.value)
        return any(
            one.dimensions == other.dimensions
            and self._close(_converted(answer.value, one.factor, other.factor), reference.value)
            for one in answer.units
            for other in reference.units
        )

    def _same_share(self, answer: Quantity, reference: Quantity) -> bool:
        if answer.percent and reference.percent:
            return self._close(answer.value, reference.value)
        # Where one bears a per cent sign, the other may be of either kind, but no length and no money.
        if answer.units or reference.units:
            return False
        hundredth = Decimal("0.01")
        if answer.percent:
            return self._close(answer.value, reference.value) or self._close(
                ARITHMETIC.multiply(answer.value, hundredth), reference.value
            )
        return self._close(answer.value, reference.value) or self._close(
            answer.value, ARITHMETIC.multiply(reference.value, hundredth)
        )

    def _close(self, answer: Decimal, reference: Decimal) -> bool:
        if answer == reference:
            return True
        difference = ARITHMETIC.abs(ARITHMETIC.subtract(answer, reference))
        if self.absolute is not None and difference <= self._exact_absolute:
            return True
        relative = self._exact_relative
        # A relative tolerance alone would take 1234567 for 1234568.
        if self.relative is None and _is_whole(answer) and _is_whole(reference):
            return False
        return difference <= ARITHMETIC.multiply(relative, ARITHMETIC.abs(reference))


def _is_whole(value: Decimal) -> bool:
    return value == value.to_integral_value()


def _converted(value: Decimal, one: Decimal, other: Decimal) -> Decimal:
    return value if one == other else ARITHMETIC.divide(ARITHMETIC.multiply(value, one), other)


def _is_year(answer: Quantity, reference: Quantity) -> bool:
    """Whether the answer is a date in the year that the reference names."""
    if answer.moment is None or reference.units or reference.percent:
        return False
    return any(date[0] is not None and date[0] == reference.value for date in answer.moment.dates)


def _spread(quantities: Sequence[Quantity]) -> Sequence[Quantity]:
    """The numbers of a ratio one by one: 3:2 is 3 to 2."""
    if len(quantities) != 1 or quantities[0].moment is None or quantities[0].moment.half:
        return quantities
    return [Quantity(Decimal(part)) for part in quantities[0].moment.parts] or quantities
