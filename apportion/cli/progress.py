"""Progress bars on standard error; standard output stays clean for data."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from apportion.pipeline.core.progress import watched


class Bars:
    """One bar per piece of work, as long as the `with` block lasts."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )

    def __enter__(self) -> Bars:
        self._progress.start()
        self._watched = watched(self)
        self._watched.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watched.__exit__(None, None, None)
        self._progress.stop()

    def start(self, name: str, total: int) -> Callable[[int], None]:
        """A bar of `total` units; the result advances it."""
        task = self._progress.add_task(name, total=total)
        return lambda units: self._progress.advance(task, units)
