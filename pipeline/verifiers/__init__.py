"""Verifiers: `exact`, `f1`, `number`, `math`, or a user's own class."""

from __future__ import annotations

from typing import Any

from apportion.pipeline.core.registry import family
from apportion.pipeline.verifiers.base import Verdict, Verifier

__all__ = ["Verdict", "Verifier", "get_verifier"]


def get_verifier(name: str, **options: Any) -> Verifier:
    """The verifier called `name`, or at the path of a user's own class; `options` are its parameters.

    Raises UserError for an unknown name, for options that it does not take, and for what is no verifier.
    """
    verifier: Verifier = family("verifiers").make(name, options)
    return verifier
