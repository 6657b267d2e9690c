"""What each verifier accepts and refuses: the lines of docs/verifiers.md, each of them a test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

RIGHT, WRONG = True, False


@dataclass(frozen=True)
class Case:
    """One verdict: `right` says whether `answer` counts as solved against `reference`, and `why` in a few words."""

    verifier: str
    answer: str
    reference: str
    right: bool
    why: str
    options: Mapping[str, float] = field(default_factory=dict)


def _cases(verifier: str, *rows: tuple[str, str, bool, str], **options: float) -> Iterator[Case]:
    for answer, reference, right, why in rows:
        yield Case(verifier, answer, reference, right, why, options)


CASES: tuple[Case, ...] = (
    *_cases(
        "exact",
        ("The  Frozen Raven.", "frozen raven", RIGHT, "case, articles, spaces and full stops do not count"),
        ("in Rome", "Rome", WRONG, "the whole answer counts"),
        ("b,e", "b, e", RIGHT, "a comma separates, with or without a space"),
        ("be", "b, e", WRONG, "and never glues"),
        ("e", "a, e", WRONG, "a letter is no article"),
        ("Vitamin", "Vitamin A", WRONG, "nor at the end"),
        ("12", "1/2", WRONG, "a fraction keeps its bar"),
        ("1 / 2", "1/2", RIGHT, "with or without spaces"),
        ("½", "1/2", RIGHT, "in one character too"),
        ("35", "3.5", WRONG, "a decimal point stays"),
        (".5", "0.5", RIGHT, "a leading zero may be left out"),
        ("5", "-5", WRONG, "a minus sign stays"),
        ("−5", "-5", RIGHT, "whichever minus it is"),
        ("108", "10^8", WRONG, "a power keeps its sign"),
        ("10⁸", "10^8", RIGHT, "raised or not"),
        ("1020", "10-20", WRONG, "a hyphen between digits separates"),
        ("10–20", "10-20", RIGHT, "whichever dash it is"),
        ("330", "3:30", WRONG, "so does a colon"),
        ("1234", "1,234", RIGHT, "but the comma of thousands goes"),
        ("12", "1,2", WRONG, "where it is one"),
        ("C", "C++", WRONG, "signs behind a letter stay"),
        ("C", "C#", WRONG, ""),
        ("A", "A+", WRONG, ""),
        ("A+", "A-", WRONG, ""),
        ("A", "A*", WRONG, ""),
        ("Fe2+", "Fe3+", WRONG, ""),
        ("H2O", "H₂O", RIGHT, "lowered or not"),
        ("c++.", "C++", RIGHT, "a full stop goes"),
        ("23", "2+3", WRONG, "arithmetic stays"),
        ("2 + 3", "2+3", RIGHT, "with or without spaces"),
        ("x > 5", "x < 5", WRONG, ""),
        ("US", "U.S.", RIGHT, "points of initials go"),
        ("J.K. Rowling", "J. K. Rowling", RIGHT, ""),
        ("dont", "don't", RIGHT, "apostrophes in words go"),
        ("Janet’s", "Janet's", RIGHT, "whichever apostrophe it is"),
        ("well known", "well-known", RIGHT, "hyphens in words separate"),
        ("Simon and Garfunkel", "Simon & Garfunkel", RIGHT, "`&` is read as and"),
        ("$5", "5", RIGHT, "a sign of money, per cent or degrees may be left out"),
        ("$5", "€5", WRONG, "but two different ones differ"),
        ("5%", "$5", WRONG, ""),
        ("**Paris**", "Paris", RIGHT, "Markdown goes"),
        ("cafe", "café", WRONG, "accents stay"),
        ("北京，中国", "北京 中国", RIGHT, "punctuation of other scripts separates too"),
        ("A", "A", RIGHT, "an article alone stays as it is"),
        ("", "x", WRONG, "no answer is wrong"),
    ),
    *_cases(
        "f1",
        ("in the town of Tarnside", "town Tarnside", RIGHT, "2 · 2 of 4 + 2 words: .67"),
        ("Tarnside", "Elm", WRONG, "no word in common"),
        ("C", "C++", WRONG, "words are those of `exact`"),
        ("北京大学", "北京", RIGHT, "Chinese by character: 2 · 2 of 4 + 2"),
        ("上海", "北京", WRONG, ""),
        ("東京タワーです", "東京タワー", RIGHT, "kana by pairs of letters"),
        ("ภาษาไทย", "ประเทศจีน", WRONG, "Thai by pairs of letters: an alphabet that any two texts share"),
    ),
    *_cases("f1", ("in the town of Tarnside", "town Tarnside", WRONG, ".67 is below"), threshold=0.9),
    *_cases(
        "number",
        ("So she pays 18 dollars.", "18", RIGHT, "the last quantity counts"),
        ("#### 18", "18", RIGHT, ""),
        (r"\boxed{18}, as 3 + 15", "18", RIGHT, "what is boxed counts"),
        ("18.0", "18", RIGHT, "as numbers"),
        ("1,234.5", "1234.5", RIGHT, "commas of thousands"),
        ("1 234,5", "1234.5", RIGHT, "decimal commas where they cannot be read otherwise"),
        ("3,14", "3.14", RIGHT, "or may be"),
        ("−5", "5", WRONG, "signs count"),
        ("1 1/2", "1.5", RIGHT, "mixed numbers"),
        (r"\frac{1}{2}", "1/2", RIGHT, "fractions"),
        ("0.3333", "1/3", WRONG, "within a relative 1e-6"),
        ("1234567", "1234568", WRONG, "whole numbers exactly"),
        ("5 million", "5,000,000", RIGHT, "scale words"),
        ("5", "5 million", WRONG, ""),
        ("$1.5bn", "1,500,000,000", RIGHT, "their short forms"),
        ("5k", "5000", RIGHT, ""),
        ("50%", "50", RIGHT, "per cent as it stands"),
        ("27.5 %", "0.275", RIGHT, "or as a share"),
        ("0.5%", "50%", WRONG, ""),
        ("5 x 10^8", "2 x 10^8", WRONG, "powers of ten whole"),
        ("5×10⁸", "5e8", RIGHT, "however they are written"),
        (r"2\sqrt{3}", r"5\sqrt{3}", WRONG, "roots whole"),
        (r"\frac{\sqrt{2}}{2}", r"1/\sqrt{2}", RIGHT, "by their value"),
        (r"2\pi", "2", WRONG, "constants"),
        ("10^10^10", "10^10^9", WRONG, "however large"),
        ("16 cm^2", "16", RIGHT, "a unit may be left out"),
        ("The answer is 16 cm².", "16", RIGHT, "its power is no number"),
        ("16 km", "16 m", WRONG, "two units of one kind are converted"),
        ("16 km", "16000 m", RIGHT, ""),
        ("16 cm^3", "16 cm^2", WRONG, "two of different kinds differ"),
        ("60 miles per hour", "60 mph", RIGHT, ""),
        ("5 ft 3 in", "63 inches", RIGHT, "compound units"),
        ("$5", "€5", WRONG, "money"),
        ("50 cents", "$0.50", RIGHT, ""),
        ("16 apples", "16 pears", RIGHT, "words that are no units do not count"),
        ("3:30", "30", WRONG, "times whole"),
        ("15:30", "3:30 pm", RIGHT, ""),
        ("2021-03-04", "4", WRONG, "dates whole"),
        ("March 4, 2021", "2021-03-04", RIGHT, "however they are written"),
        ("03/04/2021", "2021-03-04", RIGHT, "day and month either way round"),
        ("March 4, 2021", "2021", RIGHT, "an answer may say more"),
        ("2021", "March 4, 2021", WRONG, "but not less"),
        ("3", "2, 3", WRONG, "all numbers of a list"),
        ("2, 3", "3", WRONG, "and no more"),
        ("3, 2", "2, 3", WRONG, "in their order"),
        ("3 and 2", "2 and 3", RIGHT, "which `and` and `or` leave open"),
        ("x = 2 or x = -3", "2 or -3", RIGHT, ""),
        ("10-20", "20", WRONG, "both ends of a range"),
        ("from 10 to 20", "10-20", RIGHT, ""),
        ("2:3", "3:2", WRONG, "ratios"),
        ("7 apples and 3 pears", "5 apples and 3 pears", WRONG, ""),
        ("In 2021, 35 people left.", "35", RIGHT, "prose is no list"),
        (r"\pm 2", "2", WRONG, "both signs"),
        ("none", "0", WRONG, "words are no numbers"),
        ("5/0", "5", WRONG, ""),
    ),
    *_cases("number", ("27.38 %", "0.27380952380952384", RIGHT, "off by .0035 % of it"), relative=0.001),
    *_cases("number", ("102", "100", RIGHT, "whole numbers too"), relative=0.05),
    *_cases("number", ("106", "100", WRONG, ""), relative=0.05),
    *_cases("number", ("27.38 %", "0.27380952380952384", RIGHT, "off by .00001"), absolute=0.0001),
    *_cases("number", ("3.1", "3.14159", RIGHT, ""), absolute=0.05),
    *_cases("number", ("3.2", "3.14159", WRONG, ""), absolute=0.05),
    *_cases(
        "math",
        (r"$\sqrt{12}$", r"2\sqrt{3}", RIGHT, "by symbolic equality"),
        (r"\boxed{2}", r"2\sqrt{3}", WRONG, ""),
        ("x^2 + 1", "1+x^2", RIGHT, "formulas"),
        (r"\boxed{\frac{3}{4}}", "0.75", RIGHT, ""),
        ("(1,2)", "(1, 2)", RIGHT, "tuples"),
        ("(1,3)", "(1,2)", WRONG, ""),
        ("Monday", "Monday", RIGHT, "words by equal text"),
        ("Monday", "Tuesday", WRONG, ""),
    ),
)
