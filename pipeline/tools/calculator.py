"""Arithmetic by parsing: the text of a model is never evaluated as code."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from typing import ClassVar

from apportion.pipeline.tools.base import Tool, ToolResult

MAX_CHARACTERS = 500
MAX_EXPONENT = 1000
MAX_BITS = 4096

Value = int | float

_BINARY: dict[type[ast.operator], Callable[[Value, Value], Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_SIGNS = str.maketrans({"×": "*", "÷": "/", "\N{MINUS SIGN}": "-"})
_HEXADECIMAL = re.compile(r"(?<![\d.])0[xX](?=[0-9a-fA-F])")
_TIMES = re.compile(r"(?<![A-Za-z_])[xX](?![A-Za-z_])")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NAME = re.compile(r"(?<![\w.])[A-Za-z_]\w*|(?<=[\d.])(?![eE][+-]?\d)[A-Za-z_]\w*")
_STRANGE = re.compile(r"[^0-9A-Za-z_.+\-*/%()\s]")
_CURES = {"^": "; write ** for a power", "=": "; give one expression without '='", "√": "; write ** 0.5"}


class CalculationError(ValueError):
    """An expression that has no value here; the message is one line for the agent."""


class Calculator(Tool):
    """Evaluates + - * / // % ** with signs, parentheses and numbers; also x, ×, ÷, 1,234 and a trailing "=".

    Bounded, so that no text can hang it: 500 characters, exponents to 1000, whole numbers to 4096 bits. `%`
    is the remainder, as in Python. Results bear 12 significant digits; whole numbers are exact.
    Status: ours. The text is parsed and never evaluated as code. Degenerate: what has no value is a one-line error, and
    the call is not valid.
    """

    name: ClassVar[str] = "calculator"

    def run(self, text: str) -> ToolResult:
        """The value as text, or a one-line error with `valid` False."""
        try:
            return ToolResult(_shown(evaluate(text)), True)
        except CalculationError as error:
            return ToolResult(f"error: {error}", False)


def evaluate(text: str) -> Value:
    """The value of an arithmetic expression, equal to Python's own. Raises CalculationError."""
    expression = _prepared(text)
    try:
        tree = ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        cure = "; for a percentage write 5/100" if "%" in expression else ""
        raise CalculationError(f"cannot read {_short(text)!r} as arithmetic{cure}") from error
    try:
        return _value(tree.body)
    except ZeroDivisionError as error:
        raise CalculationError("division by zero") from error
    except OverflowError as error:
        raise CalculationError("the result is too large") from error
    except RecursionError as error:
        raise CalculationError("the expression is nested too deeply") from error


def _prepared(text: str) -> str:
    """The expression in Python's spelling, with nothing in it but numbers, operators and parentheses."""
    if len(text) > MAX_CHARACTERS:
        raise CalculationError(f"the expression is longer than {MAX_CHARACTERS} characters")
    expression = text.translate(_SIGNS).strip().removesuffix("=").strip()
    if not expression:
        raise CalculationError("the expression is empty")
    if _HEXADECIMAL.search(expression):
        raise CalculationError("hexadecimal numbers are not supported; put spaces around x to multiply")
    expression = _THOUSANDS.sub("", _TIMES.sub("*", expression))
    if name := _NAME.search(expression):
        raise CalculationError(f"unknown name {_short(name[0])!r}; only numbers and + - * / // % ** ( ) are allowed")
    if strange := _STRANGE.search(expression):
        raise CalculationError(f"character {strange[0]!r} is not allowed{_CURES.get(strange[0], '')}")
    return expression


def _value(node: ast.expr) -> Value:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _bounded(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _power(_value(node.left), _value(node.right))
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _bounded(_BINARY[type(node.op)](_value(node.left), _value(node.right)))
    if isinstance(node, ast.Call):
        raise CalculationError("write * between a number and a parenthesis")
    raise CalculationError("only numbers and + - * / // % ** ( ) are allowed")


def _power(base: Value, exponent: Value) -> Value:
    if abs(exponent) > MAX_EXPONENT:
        raise CalculationError(f"the exponent is beyond {MAX_EXPONENT}")
    # Checked before the work: the bits of the base times the exponent bound the bits of the result.
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > MAX_BITS:
        raise CalculationError("the result is too large")
    value = base**exponent
    if isinstance(value, complex):
        raise CalculationError("a negative number has no real power with a fractional exponent")
    return _bounded(value)


def _bounded(value: object) -> Value:
    if isinstance(value, int) and value.bit_length() <= MAX_BITS:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise CalculationError("the result is too large")


def _shown(value: Value) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value) if isinstance(value, int) else format(value, ".12g")


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 60 else flat[:57] + "..."
