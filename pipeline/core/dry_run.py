"""Whether this call only says what it would do: then nothing is written, below the data folder or elsewhere."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

_state = {"dry": False}


def begin(dry: bool) -> bool:
    """Note whether the call is a dry run; the same again."""
    _state["dry"] = dry
    return dry


def is_dry() -> bool:
    """Whether nothing may be written."""
    return _state["dry"]


def scratch() -> Path:
    """A folder for what must be made to be looked at; it goes when the process ends."""
    return Path(_scratch().name)


@lru_cache(maxsize=1)
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="apportion-dry-", ignore_cleanup_errors=True)
