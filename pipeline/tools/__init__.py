"""Tools that agents may call."""

from apportion.pipeline.tools.base import Tool, ToolResult
from apportion.pipeline.tools.calculator import Calculator
from apportion.pipeline.tools.search import Search

__all__ = ["Calculator", "Search", "Tool", "ToolResult"]
