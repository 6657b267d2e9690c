"""Apportion: who deserves the reward, who gets the blame, what to train on; in tables.

`apportion.open("demo")` reads a run, `apportion.runs()` lists them, `apportion.query("SELECT ...")` asks all of them,
`apportion.register(...)` names a method of one's own. Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apportion.pipeline.core.errors import UserError, WorkError
    from apportion.pipeline.core.registry import register
    from apportion.reading import StoredRun, connect, open, query, runs

__all__ = ["StoredRun", "UserError", "WorkError", "__version__", "connect", "open", "query", "register", "runs"]
__version__ = "0.1.0"

_HOMES = {
    **dict.fromkeys(("StoredRun", "connect", "open", "query", "runs"), "apportion.reading"),
    **dict.fromkeys(("UserError", "WorkError"), "apportion.pipeline.core.errors"),
    "register": "apportion.pipeline.core.registry",
}
"""Public name -> its module, which is imported when the name is first used."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'apportion' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
