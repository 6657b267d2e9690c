"""Verdicts on the answers that models write, right, wrong and hostile."""

import math
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.registry import family
from apportion.pipeline.trajectory.answer import normalize
from apportion.pipeline.verifiers import Verdict, get_verifier
from apportion.pipeline.verifiers.answers.quantity import Quantities
from apportion.pipeline.verifiers.exact import Exact
from apportion.pipeline.verifiers.f1 import F1, token_f1
from apportion.pipeline.verifiers.math import Math
from apportion.pipeline.verifiers.number import Number
from docs.render.verifier_cases import CASES
from docs.render.verifiers import DOC, document

WORDS = st.lists(
    st.sampled_from(["the", "a", "An", "cat,", "sat!", "on", "3.5", "-2", "mat.", "U.S.", "-"]), max_size=8
).map(" ".join)


@pytest.mark.parametrize("outcome", [-0.1, 1.1, float("nan")])
def test_outcome_stays_in_the_unit_interval(outcome):
    with pytest.raises(ValueError, match="outside"):
        Verdict(outcome, True)


@given(st.one_of(st.text(), WORDS))
def test_normalization_is_idempotent(text):
    assert normalize(normalize(text)) == normalize(text)


@pytest.mark.parametrize(
    ("answer", "references", "right"),
    [
        ("The  Frozen Raven.", ["frozen raven"], True),
        ("Roma", ["Rome", "Roma"], True),
        ("Janet’s", ["Janet's"], True),
        ("A", ["A"], True),
        ("the", ["A"], False),
        ("+", ["-"], False),
        ("3.5", ["35"], False),
        ("-5", ["5"], False),
        ("", ["x"], False),
        ("", [], False),
        ("!", [""], False),
        ("in Rome", ["Rome"], False),
    ],
)
def test_exact(answer, references, right):
    assert get_verifier("exact").verify(answer, references) == Verdict(float(right), right)


@given(WORDS, WORDS)
def test_f1_is_symmetric_bounded_and_one_for_equal_bags(a, b):
    assert token_f1(a, b) == token_f1(b, a)
    assert 0.0 <= token_f1(a, b) <= 1.0
    same = bool(normalize(a)) and sorted(normalize(a).split()) == sorted(normalize(b).split())
    assert (token_f1(a, b) == 1.0) == same


def test_f1_takes_the_best_alias_and_its_threshold():
    verdict = get_verifier("f1").verify("in the town of Tarnside", ["Elm", "town Tarnside"])
    assert verdict == Verdict(2 * 2 / (4 + 2), True)
    assert not F1(threshold=0.9).verify("in the town of Tarnside", ["town Tarnside"]).success
    assert get_verifier("f1").verify("x", []) == Verdict(0.0, False)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("She makes $1,234.50.", [1234.5]),
        ("It is -3", [-3]),
        ("It is −3", [-3]),
        ("-$5", [-5]),
        ("$-5", [-5]),
        ("- 5", [5]),
        ("GPT-4", [4]),
        ("3/4 of it", [0.75]),
        ("1 1/2 cups", [1.5]),
        ("-1 1/2", [-1.5]),
        (r"\frac{1}{2}", [0.5]),
        (r"\boxed{18}", [18]),
        (r"\$18\%", [18]),
        (".5", [0.5]),
        ("2e3", [2000]),
        ("40 tons of CO2", [40]),
        ("1{,}000", [1000]),
        ("#### 18", [18]),
        ("7 + 5 = 12", [12]),
        ("1, 2, 3", [1, 2, 3]),
        ("1,2", [1, 2]),
        ("10-20", [10, 20]),
        ("So 5-3", [5, 3]),
        ("5 - 3 = 2", [2]),
        ("In 2021, 35 people", [35]),
        ("5x^2", [5]),
        ("x_2 = 7", [7]),
        ("5 000 km", [5000]),
        (r"-\frac{\sqrt{2}}{2}", [-math.sqrt(2) / 2]),
        (r"(1+\sqrt{5})/2", [(1 + math.sqrt(5)) / 2]),
        ("5'10\"", [5 + 10 / 12]),
        ("", []),
        ("none", []),
    ],
)
def test_the_quantities_that_end_a_text(text, values):
    reading = Quantities(text).whole()
    assert [float(quantity.value) for quantity in (reading.quantities if reading else ())] == pytest.approx(values)


@pytest.mark.parametrize(
    "unit",
    ["1", ",111", "1 ", "9/", "$", "-", "1,", r"\frac{1", "(", "(1+", "1^", "10^10^", "√", "9^9^9^9 ", "exp(9e99)"],
)
def test_long_hostile_text_ends(unit):
    hostile = "1" + unit * 50_000 + "1"
    assert not Number().verify(hostile, ["7"]).success
    assert not Exact().verify(hostile, ["7"]).success


PIECES = [
    "1",
    "05",
    ".",
    ",",
    "-",
    "/",
    "^",
    "e9",
    "e999999999999999999",
    "(",
    ")",
    "{",
    "}",
    r"\frac",
    r"\sqrt",
    "π",
    " ",
]
PIECES += ["%", "million", "km", "in", "per", "$", "€", "and", ":", "=", "±", "×", r"\log", "_", "2021-03-04", "May 4"]


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=12).map("".join)))
def test_any_text_is_read_and_agrees_with_itself(text):
    reading = Quantities(text).whole(words=True)
    assert Number().verify(text, [text]).success == (reading is not None)


def test_a_number_that_is_cut_off_matches_nothing_but_itself():
    assert not Number().verify("1" * 5000, ["1" * 4000]).success
    assert Number().verify("7" * 3000, ["7" * 3000]).success
    assert not Number().verify("7" * 3000, ["7" * 2999 + "8"]).success


@given(
    st.integers(-(10**12), 10**12),
    st.sampled_from(["{}", "{:,}", "it is {:,}.", "${}", "a 7 b {}", "**{}**"]),
)
def test_a_written_integer_is_read_back(number, shape):
    (quantity,) = Quantities(shape.format(number)).whole().quantities
    assert quantity.value == number


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("18 dollars", "18", True),
        ("18.0", "18", True),
        ("0.333333333", "1/3", True),
        ("0.3333", "1/3", False),
        ("50%", "50", True),
        ("50%", "0.5", True),
        ("0.5", "50%", True),
        ("0.5%", "50%", False),
        ("1234567", "1234568", False),
        ("none", "0", False),
        ("0", "none", False),
        ("5/0", "5", False),
        ("1e999", "1e999", True),
        ("1e999", "1e998", False),
    ],
)
def test_number(answer, reference, right):
    assert get_verifier("number").verify(answer, ["x", reference]) == Verdict(float(right), right)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.verifier != "math"], ids=lambda case: f"{case.answer} for {case.reference}"
)
def test_every_line_of_the_page(case):
    verdict = get_verifier(case.verifier, **case.options).verify(case.answer, ["no such answer", case.reference])
    assert verdict.success is case.right


def test_the_page_is_what_is_tested():
    assert DOC.read_text(encoding="utf-8") == document(), "run `python -m docs.render.verifiers`"


def test_a_right_answer_stays_right_with_the_answers_own_words_around_it():
    for answer in ("16 cm^2", "5 x 10^8", r"2\sqrt{3}", "27.38 %", "5 million", "3:30", "2021-03-04", "2:3"):
        for shape in ("{}", "The answer is {}.", "#### {}", r"\boxed{{{}}}", "So we get {}", "**{}**", "Answer: {}"):
            assert Number().verify(shape.format(answer), [answer]).success, shape.format(answer)


@pytest.fixture(scope="module")
def math_verifier():
    verifier = Math(cpu_seconds=3.0)
    yield verifier
    verifier.close()


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        (r"so $x = 2\sqrt{3}$", r"2\sqrt{3}", True),
        (r"$\sqrt{12}$", r"2\sqrt{3}", True),
        (r"\boxed{2}", r"2\sqrt{3}", False),
        ("2", r"2\sqrt{3}", False),
        (r"2\sqrt{3}", "2", False),
        ("x^2 + 1", "1+x^2", True),
        (r"\boxed{\frac{3}{4}}", "0.75", True),
        ("(1,2)", "(1, 2)", True),
        ("(1,3)", "(1,2)", False),
        ("The answer is 42.", "42", True),
        ("42.", "42", True),
        ("Monday", "Monday", True),
        ("Monday", "Tuesday", False),
        ("", "3", False),
    ],
)
def test_math(math_verifier, answer, reference, right):
    assert math_verifier.verify(answer, [reference]) == Verdict(float(right), right)


@pytest.mark.parametrize("case", [case for case in CASES if case.verifier == "math"], ids=lambda case: case.answer)
def test_every_line_of_the_page_on_mathematics(math_verifier, case):
    assert math_verifier.verify(case.answer, [case.reference]).success is case.right


def test_math_works_off_the_main_thread_and_survives_an_endless_answer():
    verifier = Math(cpu_seconds=2.0)
    verdicts = []

    def work():
        verdicts.extend(verifier.verify(answer, ["5"]).success for answer in ("$9^{9^{9}}$", r"$\frac{10}{2}$"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=600)
    verifier.close()
    assert verdicts == [False, True]


def test_registry_names_its_verifiers():
    names = family("verifiers").names()
    assert {get_verifier(name).name for name in names} == set(names) == {"exact", "f1", "math", "number"}
    assert get_verifier("f1", threshold=0.8).verify("a b", ["b c d"]).success is False
    with pytest.raises(UserError, match="did you mean 'number'"):
        get_verifier("numbr")
    with pytest.raises(UserError, match="threshold"):
        get_verifier("f1", threshold=3)
    with pytest.raises(UserError, match="unknown key 'threshold'; known here: none"):
        get_verifier("exact", threshold=0.5)
    with pytest.raises(UserError, match="did you mean 'relative'"):
        get_verifier("number", relativ=0.5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("number", {"relative": float("inf")}),
        ("number", {"relative": -0.1}),
        ("number", {"absolute": float("nan")}),
        ("number", {"absolute": "0.1"}),
        ("number", {"relative": True}),
        ("f1", {"threshold": 0}),
        ("f1", {"threshold": 1.5}),
        ("math", {"cpu_seconds": float("inf")}),
    ],
)
def test_a_setting_outside_its_bounds_is_refused_by_name(name, options):
    with pytest.raises(UserError, match=next(iter(options))):
        get_verifier(name, **options)


def test_f1_cuts_scripts_without_spaces():
    assert token_f1("北京大学", "北京") == 2 * 2 / (4 + 2)
    assert token_f1("2008年", "2008") == 2 * 1 / (2 + 1)
    # Both are of the same few Thai letters; pairs of them tell the words apart.
    assert token_f1("กาน", "นาก") == 0.0


def test_a_users_own_verifier_is_found_in_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "my_own_verifier.py").write_text(
        "from apportion.pipeline.verifiers import Verdict\n"
        "class Longer:\n"
        "    name = 'longer'\n"
        "    def verify(self, answer, references):\n"
        "        return Verdict(1.0, True)\n"
        "class Other: pass\n"
    )
    (tmp_path / "my_broken_plugin.py").write_text("1 / 0\n")
    (tmp_path / "my_hungry_plugin.py").write_text("import not_a_package_here\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert get_verifier("my_own_verifier:Longer").verify("", []).success
    assert get_verifier("my_own_verifier.Longer").name == "longer"
    for path, message in {
        "my_own_verifier:Other": "it has no 'name'",
        "my_own_verifier:longer": "did you mean 'Longer'",
        "my_missing_module:X": "no module named 'my_missing_module'",
        "my_broken_plugin:X": "fails on import",
        "my_hungry_plugin:X": "needs 'not_a_package_here'",
        "my_own_verifier:": "not a dotted path",
    }.items():
        with pytest.raises(UserError, match=message):
            get_verifier(path)
