"""The text of an answer: normalized as SQuAD does, with the symbols that carry meaning; and what is boxed in it."""

from __future__ import annotations

import re
import string
import unicodedata

MONEY = "$€£¥₹₩₽฿¢"

_FOLDED = str.maketrans(
    {
        **{chr(0xFF01 + at): chr(0x21 + at) for at in range(94)},  # full-width forms
        **dict.fromkeys("\N{MINUS SIGN}\N{HYPHEN}\N{NON-BREAKING HYPHEN}", "-"),
        **dict.fromkeys("\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}", "'"),
        **{chr(0x2080 + digit): str(digit) for digit in range(10)},  # H₂O is H2O
        "\N{FRACTION SLASH}": "/",
        **dict.fromkeys("\N{ZERO WIDTH SPACE}\N{WORD JOINER}\N{ZERO WIDTH NO-BREAK SPACE}\N{SOFT HYPHEN}", ""),
    }
)
_RAISED = re.compile("[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_RAISED_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_VULGAR = re.compile(r"(\d?) ?([¼-¾⅐-⅞])")
_INLINE_MATH = re.compile(r"(?<!\\)\$([^$\n]*)(?<!\\)\$(?!\d)")
_BRACED_POWER = re.compile(r"\^\{(-?\w+)\}")

_OPENING = r"[\"'(\[{“‘«*_`\\" + MONEY + r"]*"
_SIGNED = rf"(?=[{MONEY}]?\ ?\.?\d)"
_RULES = re.compile(
    rf"""
      (?P<glued>(?<=[^\W_])'(?=[^\W\d_]))                                   # don't, Janet's
    | (?P<initials>(?<![^\W_])[^\W\d_](?:(?:\.[^\W\d_])+\.?|\.(?:\ ?[^\W\d_]\.)+)(?![^\W_]))   # U.S.  J. K.
    | (?P<thousands>(?<!\d)(?<!\d[,.])\d{{1,3}}(?:,\d{{3}})+(?!,?\d))       # 1,234
    | (?P<kept>(?<=\d)\.(?=\d)                                              # 3.5
      | (?<=[\w)])\^(?=-?\w)                                                # x^2
      | (?<=[^\W_])[+\#]{{1,3}}(?![^\W_])                                   # C++  C#  A+
      | (?<![^\W_])[^\W_]{{1,3}}-(?![^\s.,;:!?)\]])                         # A-  Cl-
      | (?<![^\W_])(?<!\*)[^\W_]{{1,2}}\*(?![*\w]) )                         # A*
    | (?P<sign>(?<![^\s(\[{{,;:=<>/*^{MONEY}])[-–](?:{_SIGNED}|(?=[^\W\d_](?![^\W_]))))        # -5  -$5  -x
    | (?P<point>(?<![\w.])\.(?=\d))                                         # .5
    | (?P<unit>[{MONEY}]\ ?(?=-?\.?\d))                                     # $5
    | (?P<after>(?<=\d)\ ?[{MONEY}%°‰])                                     # 5%
    | (?P<fraction>(?<=\d)\ ?/\ ?(?=\d))                                    # 1/2
    | (?P<operator>(?<=[\w)])(?P<gap>\ ?)(?P<op>[+=<>*×÷≤≥≠]|[<>]=)(?P=gap)(?=[\w(\\.{MONEY}-]))
    | (?P<bound>(?<![^\s(])[<>≤≥]=?\ ?(?=-?[{MONEY}]?\.?\d))                # < 5
    | (?P<and>(?<=[\w.])\ ?&\ ?(?=\w))                                      # R&B
    | (?P<article>(?<![^\W_])(?<!')(?:a|an|the)\ (?={_OPENING}(?:-(?=\d))?[^\W_]))
    | (?P<letter>(?<![^\W_])(?:a|an|the)(?=\ ?[,;:.!?)\]}}"'”|/–—&-][\W_]*[^\W_]))             # no article: A, B
    | (?P<other>[^\w\s]|_)
    """,
    re.VERBOSE,
)
_ROUNDS = 8


def normalize(text: str) -> str:
    """Lower case without articles, punctuation and spare space (SQuAD, arXiv 1606.05250); idempotent.

    Departures, each where the original would call a wrong answer right or a right one wrong:

    * punctuation between letters or digits separates ("b,e" is "b, e" and not "be"), but for the commas of thousands,
      apostrophes in words, and the points of initials (U.S. is US);
    * symbols that carry meaning stay: 3.5, -5, 1/2, x^2, C++, C#, A+, 2 + 3, < 5; `&` is "and";
    * "a" is an article only before a word: "A, B" keeps its A, and so does "Vitamin A";
    * signs of money, per cent and degrees go (`units` tells them);
    * a text of nothing but articles or punctuation stays as it is ("A", "+").
    """
    lowered = _folded(text)
    bare = lowered
    for _ in range(_ROUNDS):  # until nothing changes, so that it is idempotent
        before, bare = bare, " ".join(unicodedata.normalize("NFC", _RULES.sub(_applied, bare)).split())
        if bare == before:
            break
    return bare or lowered


def units(text: str) -> frozenset[str]:
    """The signs of money, per cent and degrees at the numbers of `text`."""
    found = (match[0].strip() for match in _RULES.finditer(_folded(text)) if match["unit"] or match["after"])
    return frozenset(found)


def _folded(text: str) -> str:
    """Lower case, one space, one way of writing a minus, an apostrophe, a power, a fraction."""
    plain = _INLINE_MATH.sub(r"\1", text.translate(_FOLDED))
    plain = _RAISED.sub(lambda match: "^" + match[0].translate(_RAISED_DIGITS), plain)
    plain = _BRACED_POWER.sub(r"^\1", _VULGAR.sub(_vulgar, plain))
    return " ".join(unicodedata.normalize("NFC", plain).lower().split())


def _vulgar(match: re.Match[str]) -> str:
    fraction = unicodedata.normalize("NFKC", match[2]).replace("\N{FRACTION SLASH}", "/")
    return f"{match[1]} {fraction}" if match[1] else fraction


def _applied(match: re.Match[str]) -> str:
    """What the rule that matched writes in place of its text."""
    found = match[0]
    match match.lastgroup if match["op"] is None else "operator":
        case "initials":
            return "".join(character for character in found if character not in ". ")
        case "thousands":
            return found.replace(",", "")
        case "kept":
            return found
        case "glued" | "unit":
            return ""
        case "sign":
            return "-"
        case "point":
            return "0."
        case "fraction":
            return "/"
        case "operator":
            return f" {match['op']} "
        case "bound":
            return found.strip() + " "
        case "and":
            return " and "
        case "letter":
            return found + ","
        case "other":
            return " " if _is_punctuation(found) else found
    return " "


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def boxed(text: str) -> str | None:
    """What stands in the last \\boxed{...} of `text`, its braces balanced; None without one."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed")
    for at in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[begin + 1 : at].strip() or None
    return None
