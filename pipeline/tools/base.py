"""What a tool is: text in, text out, and whether the call was well formed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class ToolResult:
    """What an agent reads back; `valid` is False when the call was malformed (it feeds `tool_valid`)."""

    text: str
    valid: bool


@runtime_checkable
class Tool(Protocol):
    """Something an agent may call with one line of text; never raises on what a model wrote."""

    @property
    def name(self) -> str:
        """The name agents call it by, stored in `messages.tool_name`."""
        ...

    def run(self, text: str) -> ToolResult:
        """The result of the call; the same text gives the same result."""
        ...
