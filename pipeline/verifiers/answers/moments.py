"""Dates and clock times as they are written, read whole: 2021-03-04 is neither 4 nor 20210304."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_TIME = r"(?:T(?P<hour>\d{2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
_TH = r"(?:st|nd|rd|th)?"
_ALONE = r"(?![\w/-])"
MOMENT = re.compile(
    rf"""
      (?<![\w.,/-])(?P<iso>(?P<y>\d{{4}})(?P<mark>[-/.])(?P<m>\d{{1,2}})(?P=mark)(?P<d>\d{{1,2}})){_TIME}{_ALONE}
    | (?<![\w.,/-])(?P<numeric>
        (?P<one>\d{{1,2}})(?P<between>[-/.])(?P<two>\d{{1,2}})(?P=between)(?P<y2>\d{{4}})){_ALONE}
    | (?<!\w)(?P<written>
        (?P<name>{_MONTH})\ *(?P<day>\d{{1,2}}){_TH}(?!\d|[.,:]\d)(?:,?\ +(?P<y3>\d{{4}})(?!\w))?)
    | (?<![\w.,])(?P<reversed>
        (?P<day2>\d{{1,2}}){_TH}\ +(?:of\ +)?(?P<name2>{_MONTH})(?:,?\ +(?P<y4>\d{{4}})(?!\w))?)
    | (?<!\w)(?P<monthly>(?P<name3>{_MONTH}),?\ +(?P<y5>\d{{4}})(?![\w.]?\d))
    | (?<![\w:.])(?P<clock>\d{{1,6}}(?:(?::|\ :\ )\d{{1,6}}){{1,3}}(?:\.\d+)?)(?!\w|:\d)(?:\ ?(?P<half>[ap])\.?m\b\.?)?
    | (?<![\w:.,])(?P<hours>\d{{1,2}})\ ?(?P<half2>[ap])\.?m\b\.?
    """,
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Moment:
    """A date (year, month, day, hour, minute, second; None where not said) or numbers with colons between.

    `dates` holds two where day and month could be either way round; else `parts` are the numbers of a clock time, a
    ratio or a duration, and `half` says "a" (before noon) or "p".
    """

    dates: tuple[tuple[int | None, ...], ...] = ()
    parts: tuple[str, ...] = ()
    half: str = ""


def moment(match: re.Match[str]) -> Moment | None:
    """What a match of MOMENT says; None where it is no date after all (month 13, or "may 5")."""
    if match["clock"]:
        return Moment(
            parts=tuple(part.strip() for part in match["clock"].split(":")), half=(match["half"] or "").lower()
        )
    if match["hours"]:
        return Moment(parts=(match["hours"], "00"), half=match["half2"].lower())
    if match["iso"]:
        found: list[tuple[str | None, ...]] = [(match["y"], match["m"], match["d"])]
        time = [int(match[name]) if match[name] else None for name in ("hour", "minute", "second")]
    else:
        found, time = _said(match), [None, None, None]
    dates = [(*(int(part) if part else None for part in date), *time) for date in found]
    right = tuple(date for date in dates if 1 <= (date[1] or 0) <= 12 and 1 <= (date[2] or 1) <= 31)
    return Moment(dates=right) if right else None


def _said(match: re.Match[str]) -> list[tuple[str | None, ...]]:
    if match["numeric"]:
        year, one, two = match["y2"], match["one"], match["two"]
        return list(dict.fromkeys([(year, one, two), (year, two, one)]))
    name = match["name"] or match["name2"] or match["name3"]
    year, day = match["y3"] or match["y4"] or match["y5"], match["day"] or match["day2"]
    # "may 5" and "march 5 miles" are no dates, but for a year or a capital.
    if not year and name[0].islower():
        return []
    return [(year, str(_MONTHS.index(name[:3].lower()) + 1), day)]


def same_moment(answer: Moment, reference: Moment) -> bool:
    """Whether the answer says all that the reference says, and the same."""
    if answer.dates or reference.dates:
        return any(
            all(b is None or a == b for a, b in zip(one, other, strict=True))
            for one in answer.dates
            for other in reference.dates
        )
    if not answer.half and not reference.half:
        return [part.lstrip("0") for part in answer.parts] == [part.lstrip("0") for part in reference.parts]
    return bool(_times(answer) & _times(reference))


def _times(clock: Moment) -> set[tuple[int, ...]]:
    """The times of day that a clock time may mean: two where neither half of the day is said and it could be either."""
    numbers = [int(float(part)) for part in clock.parts]
    hour, rest = numbers[0], tuple([*numbers[1:], 0, 0][:3])
    if clock.half:
        return {(hour % 12 + (12 if clock.half == "p" else 0), *rest)}
    return {(hour, *rest), (hour % 12 + 12, *rest)} if 1 <= hour <= 12 else {(hour, *rest)}
