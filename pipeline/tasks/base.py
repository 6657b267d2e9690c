"""What a source of tasks is, and the tasks of the one that a configuration names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from apportion.pipeline.core.registry import Method, family, refuse_unknown
from apportion.pipeline.trajectory.task import Task


class TaskSource(Method, ABC):
    """Makes tasks, where none are read from a file. A user's own may also be a function that returns a list of Task."""

    @abstractmethod
    def tasks(self) -> list[Task]:
        """The tasks, in the same order for the same parameters."""


def tasks_of(source: str, options: Mapping[str, Any]) -> list[Task]:
    """The tasks of the source of that name (or path) with its parameters. Raises UserError for what there is not."""
    sources = family("tasks")
    found = sources.find(source)
    if callable(found) and not isinstance(found, type):
        refuse_unknown(f"{sources.noun} {source}", found, options)
        return list(found(**options))
    return list(sources.make(source, options).tasks())
