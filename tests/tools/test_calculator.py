"""The calculator agrees with Python, and nothing that a model writes can run or hang."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.pipeline.core.limits import limited
from apportion.pipeline.tools.base import Tool
from apportion.pipeline.tools.calculator import Calculator, evaluate

NUMBERS = st.one_of(st.integers(0, 999).map(str), st.floats(0.001, 999).map(lambda value: f"{value:.3f}"))
EXPRESSIONS = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", " / ", "//", "%"]), inner).map("".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"-({text})"),
        st.tuples(inner, st.integers(0, 3)).map(lambda pair: f"({pair[0]})**{pair[1]}"),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_equals_pythons_own_value(text):
    result = Calculator().run(text)
    try:
        expected = eval(text, {"__builtins__": {}})
    except ZeroDivisionError:
        assert result.text == "error: division by zero"
        return
    if result.valid:
        assert evaluate(text) == expected
        assert float(result.text) == pytest.approx(expected, rel=1e-11)
    else:
        assert "too large" in result.text or "longer" in result.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("3 x 4 =", "12"),
        ("3×4÷2", "6"),
        ("1,234 + 1,000,000", "1001234"),
        ("10/4", "2.5"),
        ("10/5", "2"),
        ("0.1+0.2", "0.3"),
        ("7 − 9", "-2"),
        ("2**100", "1267650600228229401496703205376"),
        ("-2**2", "-4"),
        ("1e3 * 2", "2000"),
        ("+5 % 3", "2"),
        ("  (1 + 2)*3\n", "9"),
        ("4 x -2", "-8"),
        ("0 x 5", "0"),
        ("-" * 400 + "1", "1"),
    ],
)
def test_the_spellings_agents_use(text, shown):
    result = Calculator().run(text)
    assert (result.text, result.valid) == (shown, True)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "empty"),
        (" = ", "empty"),
        ("1/0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("2^3", "write \\*\\*"),
        ("1+1=2", "without '='"),
        ("50%", "percentage"),
        ("2(3)", "number and a parenthesis"),
        ("(1,2)", "not allowed"),
        ("max(1, 2)", "unknown name 'max'"),
        ("__import__('os')", "unknown name"),
        ("1 if 1 else 2", "unknown name"),
        ("5if", "unknown name"),
        ("3j", "unknown name"),
        ("0x10", "hexadecimal"),
        ("1 +", "cannot read"),
        ("007", "cannot read"),
        ("1\n+2", "cannot read"),
        ("(-8)**0.5", "no real power"),
        ("1e999", "too large"),
        ("1e300*1e300", "too large"),
        ("10**400/3", "too large"),
        ("9**9**9", "beyond 1000"),
        ("9999999999**999", "too large"),
        ("(((9**999)**999)**999)", "too large"),
        ("(" * 240 + "1" + ")" * 240, "cannot read"),
        ("1+" * 400 + "1", "longer"),
        ("1;2", "not allowed"),
        ("1\x002", "not allowed"),
    ],
)
def test_errors_are_one_clear_line_and_quick(text, part, recwarn):
    with limited("the calculator", 60):  # what hangs would hang for hours
        result = Calculator().run(text)
    assert not result.valid
    assert result.text.startswith("error: ")
    assert re.search(part, result.text)
    assert "\n" not in result.text
    assert not recwarn.list


@given(st.text(alphabet="0123456789.+-*/%()xeE ,=_", max_size=60))
def test_no_text_raises(text):
    result = Calculator().run(text)
    assert result.text
    assert result.valid != result.text.startswith("error: ")


def test_is_a_tool():
    assert isinstance(Calculator(), Tool)
