"""Where work reports how far it is, and who watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol


class Progress(Protocol):
    """Where a stage reports: `start` a named piece of `total` units, then `advance`."""

    def start(self, name: str, total: int) -> Callable[[int], None]:
        """Begin a piece of work; the result is called with the units just finished."""
        ...


class Silent:
    """Progress that nobody watches."""

    def start(self, name: str, total: int) -> Callable[[int], None]:
        """Ignore it."""
        return lambda units: None


_watcher: ContextVar[Progress] = ContextVar("watcher")


@contextmanager
def watched(by: Progress) -> Iterator[None]:
    """Stages inside the block report to `by`."""
    token = _watcher.set(by)
    try:
        yield
    finally:
        _watcher.reset(token)


def watcher() -> Progress:
    """Whoever watches this work."""
    return _watcher.get(Silent())


def following(name: str) -> Callable[[int, int], None]:
    """A bar that starts with the first report and follows counts of (done, in all)."""
    state: dict[str, Any] = {"done": 0}

    def report(done: int, total: int) -> None:
        if "advance" not in state:
            state["advance"] = watcher().start(name, total)
        state["advance"](done - state["done"])
        state["done"] = done

    return report
