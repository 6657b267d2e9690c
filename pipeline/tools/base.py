"""What a tool is: text in, text out, and whether the call was well formed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from apportion.pipeline.core.registry import Method


@dataclass(frozen=True)
class ToolResult:
    """What an agent reads back; `valid` is False when the call was malformed (it feeds `tool_valid`)."""

    text: str
    valid: bool


class Tool(Method, ABC):
    """Something an agent may call with one line of text; never raises on what a model wrote.

    A user's own needs no base class: a method `run` is enough.
    """

    name: ClassVar[str]

    @abstractmethod
    def run(self, text: str) -> ToolResult:
        """The result of the call; the same text gives the same result."""
