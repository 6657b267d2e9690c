"""Load a user's own class or function: `package.module:Class`, `package.module.Class` or `file.py:Class`."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest


def is_path(name: str) -> bool:
    """Whether `name` is written as the path of somebody's own code, and not as a short name."""
    return "." in name or ":" in name


def load(path: str) -> Any:
    """The object at a path; the working directory is importable, and so is the folder of a file.

    Raises UserError when the file, the module or the attribute is missing, or when the module fails while it loads.
    """
    file, separator, attribute = path.rpartition(":")
    if separator and file.endswith(".py"):
        found, module_name = _from_file(path, Path(file).expanduser()), file
    else:
        module_name, attribute = _split(path)
        found = _from_module(path, module_name)
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise UserError(f"{path}: {module_name!r} has no {name!r}{_nearest(name, found)}")
        found = getattr(found, name)
    return found


def _from_module(path: str, module_name: str) -> Any:
    _importable(os.getcwd())
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise UserError(
                f"{path}: no module named {error.name!r}; install it, or start from the folder that holds it"
            ) from error
        raise UserError(f"{path}: module {module_name!r} needs {error.name!r}; install that package") from error
    except Exception as error:
        raise _failed(path, module_name, error) from error


def _from_file(path: str, file: Path) -> Any:
    """The module of a file, executed once for each content of it."""
    try:
        name = f"apportion_own_{digest([str(file.absolute()), file.read_text(encoding='utf-8')])}"
    except OSError as error:
        raise UserError(f"{path}: {file} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: {file} is no Python file in UTF-8") from error
    if name in sys.modules:
        return sys.modules[name]
    _importable(str(file.absolute().parent))
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: {file} is no Python file")
    module = sys.modules[name] = module_from_spec(spec)  # there before it runs: dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _failed(path, str(file), error) from error
    return module


def _importable(folder: str) -> None:
    """At the end of sys.path: a file there must not hide an installed package."""
    if folder not in sys.path:
        sys.path.append(folder)


def _failed(path: str, module: str, error: Exception) -> UserError:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return UserError(f"{path}: module {module!r} fails on import ({reason}); repair it first")


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
