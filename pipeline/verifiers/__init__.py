"""Verifiers, by name (`exact`, `f1`, `number`, `math`) or by the dotted path of a user's own class."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from apportion.pipeline.core.code import load
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.verifiers.base import Verdict, Verifier

__all__ = ["VERIFIERS", "Verdict", "Verifier", "get_verifier"]

VERIFIERS = {
    "exact": "apportion.pipeline.verifiers.exact:Exact",
    "f1": "apportion.pipeline.verifiers.f1:F1",
    "number": "apportion.pipeline.verifiers.number:Number",
    "math": "apportion.pipeline.verifiers.math:Math",
}


def get_verifier(name: str, **options: Any) -> Verifier:
    """The verifier called `name`, or at a dotted path `package.module:Class`; `options` go to its class.

    Raises UserError for an unknown name, for options that the class does not take, and for what is no
    verifier.
    """
    if name not in VERIFIERS and "." not in name and ":" not in name:
        close = difflib.get_close_matches(name, VERIFIERS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "or give a class as 'package.module:Class'"
        raise UserError(f"no verifier {name!r}; there are {', '.join(VERIFIERS)}; {hint}")
    found = load(VERIFIERS.get(name, name))
    if isinstance(found, type):
        _refuse_unknown(name, found, options)
        try:
            found = found(**options)
        except (TypeError, ValueError) as error:
            raise UserError(f"verifier {name}: cannot be made with {options}: {error}") from error
    elif options:
        raise UserError(f"verifier {name}: is an object, not a class, and takes no options {options}")
    if not isinstance(found, Verifier):
        raise UserError(f"verifier {name}: needs a `name` and a method `verify(answer, references)`")
    return found


def _refuse_unknown(name: str, verifier: type, options: dict[str, Any]) -> None:
    """Raise UserError for an option that the class does not take, with the nearest that it does."""
    if not options:
        return
    taken = inspect.signature(verifier).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return
    for option in options:
        if option not in taken:
            close = difflib.get_close_matches(option, taken, n=1, cutoff=0.5)
            cure = f"did you mean {close[0]!r}? it takes" if close else "it takes"
            raise UserError(
                f"verifier {name}: cannot be made with {option!r}; {cure} {', '.join(taken) or 'no option'}"
            )
