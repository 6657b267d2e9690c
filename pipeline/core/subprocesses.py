"""Work in a process of its own: it ends with ours, and its last words reach the user."""

from __future__ import annotations

import ctypes
import signal
import sys
from typing import TextIO


def end_with_parent() -> None:
    """Have the kernel end this process when its parent dies, also by kill -9 (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def ending(code: int) -> str:
    """An exit code in words."""
    return f"signal {-code} (out of memory?)" if code == -signal.SIGKILL else f"code {code}"


def last_words(errors: TextIO) -> str:
    """The last line of what the process wrote to this file."""
    errors.seek(0)
    lines = [line.strip() for line in errors if any(map(str.isalnum, line))]
    return lines[-1] if lines else "it said nothing"
