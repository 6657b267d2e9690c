"""Tools that agents may call."""

from pipeline.tools.base import Tool, ToolResult
from pipeline.tools.calculator import Calculator
from pipeline.tools.search import Search

__all__ = ["Calculator", "Search", "Tool", "ToolResult"]
