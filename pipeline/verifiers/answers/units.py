"""Units of measure and money: what a word or symbol means, and whether two of them can be converted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Unit:
    """`factor` of base units, whose powers are `dimensions`: km/h is 1000/3600 of m^1 s^-1."""

    factor: Decimal
    dimensions: frozenset[tuple[str, int]]

    def power(self, exponent: int) -> Unit:
        """The unit to a whole power: cm to the 2nd is cm^2."""
        return Unit(self.factor**exponent, frozenset((base, n * exponent) for base, n in self.dimensions if exponent))

    def times(self, other: Unit) -> Unit:
        """The product of two units."""
        powers = Counter(dict(self.dimensions))
        for base, n in other.dimensions:
            powers[base] += n
        return Unit(self.factor * other.factor, frozenset((base, n) for base, n in powers.items() if n))


def _unit(factor: str, **dimensions: int) -> Unit:
    return Unit(Decimal(factor), frozenset(dimensions.items()))


_PREFIXES = {"k": 3, "M": 6, "G": 9, "T": 12, "d": -1, "c": -2, "m": -3, "μ": -6, "u": -6, "n": -9, "p": -12}
_LONG_PREFIXES = {"kilo": 3, "mega": 6, "giga": 9, "tera": 12, "deci": -1, "centi": -2, "milli": -3, "micro": -6,
                  "nano": -9}  # fmt: skip
_METRIC = {
    "m meter metre": _unit("1", m=1),
    "g gram gramme": _unit("0.001", kg=1),
    "s sec second": _unit("1", s=1),
    "l L liter litre": _unit("0.001", m=3),
    "N newton": _unit("1", kg=1, m=1, s=-2),
    "J joule": _unit("1", kg=1, m=2, s=-2),
    "W watt": _unit("1", kg=1, m=2, s=-3),
    "Wh": _unit("3600", kg=1, m=2, s=-2),
    "cal calorie": _unit("4.184", kg=1, m=2, s=-2),
    "eV": _unit("1.602176634e-19", kg=1, m=2, s=-2),
    "Pa pascal": _unit("1", kg=1, m=-1, s=-2),
    "bar": _unit("100000", kg=1, m=-1, s=-2),
    "Hz hertz": _unit("1", s=-1),
    "V volt": _unit("1", volt=1),
    "A amp ampere": _unit("1", ampere=1),
    "Ω ohm": _unit("1", ohm=1),
    "mol mole": _unit("1", mole=1),
    "B byte": _unit("8", bit=1),
    "bit": _unit("1", bit=1),
}
_OTHERS = {
    "in inch inches": _unit("0.0254", m=1),
    "ft foot feet": _unit("0.3048", m=1),
    "yd yard yards": _unit("0.9144", m=1),
    "mi mile miles": _unit("1609.344", m=1),
    "ha hectare hectares": _unit("10000", m=2),
    "acre acres": _unit("4046.8564224", m=2),
    "lb lbs": _unit("0.45359237", kg=1),
    "oz ounce ounces": _unit("0.028349523125", kg=1),
    "t tonne tonnes": _unit("1000", kg=1),
    "min mins minute minutes": _unit("60", s=1),
    "h hr hrs hour hours": _unit("3600", s=1),
    "d day days": _unit("86400", s=1),
    "week weeks": _unit("604800", s=1),
    "month months": _unit("1", month=1),
    "yr yrs year years": _unit("12", month=1),
    "gal gallon gallons": _unit("0.003785411784", m=3),
    "qt quart quarts": _unit("0.000946352946", m=3),
    "pt pint pints": _unit("0.000473176473", m=3),
    "cup cups": _unit("0.0002365882365", m=3),
    "mph": _unit("0.44704", m=1, s=-1),
    "kph kmh": Unit(Decimal(1000) / 3600, frozenset({("m", 1), ("s", -1)})),
    "atm": _unit("101325", kg=1, m=-1, s=-2),
    "psi": _unit("6894.757293168", kg=1, m=-1, s=-2),
    "K kelvin": _unit("1", kelvin=1),
    "°C C celsius": _unit("1", celsius=1),
    "°F F fahrenheit": _unit("1", fahrenheit=1),
    "rad radian radians": _unit("57.295779513082320876798154814105", degree=1),
    "$ USD US$ dollar dollars": _unit("1", USD=1),
    "¢ cent cents": _unit("0.01", USD=1),
    "€ EUR euro euros": _unit("1", EUR=1),
    "£ GBP": _unit("1", GBP=1),
    "pence": _unit("0.01", GBP=1),
    "¥ JPY yen": _unit("1", JPY=1),
    "₹ INR rupee rupees": _unit("1", INR=1),
    "CNY RMB yuan": _unit("1", CNY=1),
    "₩ KRW won": _unit("1", KRW=1),
    "₽ RUB rubles roubles": _unit("1", RUB=1),
    "CHF": _unit("1", CHF=1),
}
_BY_NAME: dict[str, tuple[Unit, ...]] = {name: (unit,) for names, unit in _OTHERS.items() for name in names.split()}
# Words of several meanings: whichever fits the other side is meant.
_BY_NAME |= dict.fromkeys(("pound", "pounds"), (_unit("0.45359237", kg=1), _unit("1", GBP=1)))
_BY_NAME |= dict.fromkeys(("ton", "tons"), (_unit("907.18474", kg=1), _unit("1000", kg=1)))
_BY_NAME |= dict.fromkeys(
    ("°", "deg", "degree", "degrees"), (_unit("1", degree=1), _unit("1", celsius=1), _unit("1", fahrenheit=1))
)
for _names, _found in _METRIC.items():
    for _name in _names.split():
        if len(_name) > 3 or _name in ("bar", "bit", "ohm", "amp", "sec"):
            for _prefix, _power in {"": 0, **_LONG_PREFIXES}.items():
                _value = Unit(_found.factor.scaleb(_power), _found.dimensions)
                _BY_NAME |= dict.fromkeys((f"{_prefix}{_name}", f"{_prefix}{_name}s"), (_value,))
        if len(_name) <= 3:
            for _prefix, _power in {"": 0, **_PREFIXES}.items():
                _BY_NAME.setdefault(f"{_prefix}{_name}", (Unit(_found.factor.scaleb(_power), _found.dimensions),))

MONEY = frozenset("$€£¥₹₩₽")
CODES = frozenset({"USD", "EUR", "GBP", "JPY", "INR", "CNY", "RMB", "KRW", "RUB", "CHF"})


def named(name: str) -> tuple[Unit, ...]:
    """What `name` may mean: several units where it is ambiguous, none where it is no unit."""
    return _BY_NAME.get(name) or (_BY_NAME.get(name.lower(), ()) if len(name) > 1 else ())
