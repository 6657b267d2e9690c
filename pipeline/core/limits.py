"""A limit of time on code that is not ours: a tool that waits for a server, a verifier that never comes back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SECONDS = 600.0
"""How long one call of a tool or verifier may take."""


@contextmanager
def limited(what: str, seconds: float | None = None) -> Iterator[None]:
    """Raise TimeoutError in the block after `seconds` (default: SECONDS).

    Within another limit, and outside the main thread (which alone hears the clock), the block has none of its own.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    allowed = SECONDS if seconds is None else seconds

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"{what} took longer than {allowed:,g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, allowed)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
