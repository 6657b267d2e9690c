"""Load a user's own class or function by its dotted path."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import Any

from pipeline.errors import UserError


def load_dotted(path: str) -> Any:
    """The object at `package.module:Class` (or `package.module.Class`); the current directory is importable.

    Raises UserError when the module or the attribute is missing, or when the module fails while it loads.
    """
    module_name, attribute = _split(path)
    # At the end of sys.path: a file in the working directory must not hide an installed package.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    importlib.invalidate_caches()
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise UserError(
                f"{path}: no module named {error.name!r}; install it, or start from the folder that holds it"
            ) from error
        raise UserError(f"{path}: module {module_name!r} needs {error.name!r}; install that package") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{path}: module {module_name!r} fails on import ({reason}); repair it first") from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise UserError(f"{path}: {module_name!r} has no {name!r}{_nearest(name, found)}")
        found = getattr(found, name)
    return found


def _split(path: str) -> tuple[str, str]:
    module_name, separator, attribute = path.partition(":") if ":" in path else path.rpartition(".")
    parts = [*module_name.split("."), *attribute.split(".")]
    if not separator or not all(part.isidentifier() for part in parts):
        raise UserError(f"{path!r} is not a dotted path; write it as 'package.module:Class'")
    return module_name, attribute


def _nearest(name: str, holder: Any) -> str:
    public = [other for other in dir(holder) if not other.startswith("_")]
    lowered = {other.lower(): other for other in public}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {lowered[close[0]]!r}?"
    return f"; it has: {', '.join(public[:8])}" if public else "; it is empty"
