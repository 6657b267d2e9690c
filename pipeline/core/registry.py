"""Families of methods: a folder is a family, a file in it a method, and the file's name is how a configuration asks
for it. Methods from elsewhere are named by a path (`package.module:Class`, `file.py:Class`) or come as entry points of
an installed package (group `apportion.FAMILY`). Nothing is imported before it is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from apportion.pipeline.core.code import is_path, load
from apportion.pipeline.core.config_errors import explain
from apportion.pipeline.core.errors import UserError


class Method(BaseModel):
    """A method whose parameters are its fields: each has a type, a default, bounds and its meaning as a docstring."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Family:
    """One folder of methods. `noun`: what a method of it is called. `key`: the key of a configuration that names one.

    `parts`: attributes that a method of anybody's must have. `example`: a file that shows them. `options`: the table of
    a configuration that holds the parameters of a user's own. `dash`: how methods are written that are files with `_`.
    """

    name: str
    noun: str
    key: str
    parts: tuple[str, ...]
    options: str
    example: str = "CONTRIBUTING.md"
    dash: str = "_"

    def shipped(self) -> list[str]:
        """The methods that come with the package."""
        return [name.replace("_", self.dash) for name in _files(self.name)]

    def names(self) -> list[str]:
        """The methods that come with the package, then those of installed packages, then those registered here."""
        others = (*_points(self.name), *_registered.get(self.name, ()))
        return list(dict.fromkeys((*self.shipped(), *(name for name in others if name not in _files(self.name)))))

    def table(self, name: str) -> str:
        """Where a configuration gives the parameters of a method that comes with the package."""
        if self.options == f"{self.key.partition('.')[0]}.options" and self.name != "tasks":
            return f"[{self.options.removesuffix('options')}{name}]"
        place = self.options.removesuffix(".options") if self.name == "tools" else self.options
        return f"[{place}], {self.key.rpartition('.')[2]} = {name!r}"

    def is_own(self, name: str) -> bool:
        """Whether `name` is the path of a user's own code."""
        return name not in _files(self.name) and is_path(name)

    def unknown(self, name: str) -> str:
        """Why there can be no method of that name, with the nearest that there is; empty where there can be one."""
        here = (*_files(self.name), *_registered.get(self.name, ()))
        if self.is_own(name) or _plain(name) in here or _plain(name) in _points(self.name):
            return ""  # entry points are looked for last: all installed packages are read for them
        known = self.names()
        near = difflib.get_close_matches(_plain(name.lower()).replace("_", self.dash), known, 1, 0.5)
        cure = f"did you mean {near[0]!r}?" if near else "or give your own as 'package.module:Class' or 'file.py:Class'"
        return f"no such {self.noun}; there are {', '.join(known)}; {cure}"

    def check(self, name: str) -> str:
        """`name`, if there can be a method of that name. Raises UserError with the nearest name; imports nothing."""
        if problem := self.unknown(name):
            raise UserError(f"{self.key} = {name!r}: {problem}")
        return name

    def find(self, name: str) -> Any:
        """The class (or object) called `name`. Raises UserError where there is none, or its module fails."""
        self.check(name)
        if self.is_own(name):
            return load(name)
        if _plain(name) in _files(self.name):
            return _only_method(f"{_package(self.name)}.{_plain(name)}")
        if _plain(name) in _registered.get(self.name, ()):
            return _registered[self.name][_plain(name)]
        return load(_points(self.name)[_plain(name)].value)

    def make(self, name: str, parameters: Mapping[str, Any] = MappingProxyType({})) -> Any:
        """The method called `name` with `parameters`.

        Raises UserError for a parameter that it does not take (with the nearest), for a value that it refuses, and for
        what lacks a part that the family needs.
        """
        found = self.find(name)
        place = f"{self.noun} {name}"
        ready = not isinstance(found, type) and (
            not callable(found) or all(hasattr(found, part) for part in self.parts)
        )
        made = found if ready and not parameters else _made(place, found, dict(parameters))
        for part in self.parts:
            if not hasattr(made, part):
                raise UserError(f"{place}: it has no {part!r}; see {self.example}")
        return made


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            Family(
                "advantages",
                "advantage method",
                "advantages.method",
                ("name", "needs", "weighs_agents", "advantages"),
                "advantages.options",
            ),
            Family("importers", "log format", "import FORMAT", ("name", "read"), "importer.options", dash="-"),
            Family("localizers", "localizer", "failures.localizer", ("judge",), "failures.options", "docs/evaluate.md"),
            Family("tasks", "task source", "tasks.source", ("tasks",), "tasks.options"),
            Family(
                "teams", "topology", "team.topology", ("name", "answerer", "play"), "team.options", "examples/dyad.py"
            ),
            Family("tools", "tool", "team.tools.NAME.kind", ("run",), "team.tools.NAME.options"),
            Family(
                "values", "value function", "annotate.value", ("name", "rules", "games", "values"), "annotate.options"
            ),
            Family(
                "verifiers",
                "verifier",
                "tasks.verifier",
                ("name", "verify"),
                "tasks.verifier_options",
                "docs/verifiers.md",
            ),
        )
    }
)
"""By the name of the folder."""


def family(name: str) -> Family:
    """The family whose folder is called `name`."""
    return FAMILIES[name]


_registered: dict[str, dict[str, Any]] = {}
"""By family and name: methods of this process alone."""


def register(family: str, name: str, method: Any) -> None:
    """Let this process's configurations ask for `method` (a class, its parameters the fields) by `name`, in a family.

    For notebooks and scripts: files and packages are named without it. Registered again, the later method counts.
    Raises UserError for a family that is none, and for a name that comes with the package.
    """
    if family not in FAMILIES:
        near = difflib.get_close_matches(family, FAMILIES, 1, 0.5)
        raise UserError(f"{family!r}: no such family; {f'did you mean {near[0]!r}?' if near else ', '.join(FAMILIES)}")
    if name in _files(family) or not name.isidentifier():
        reason = "comes with the package" if name in _files(family) else "is not a name"
        raise UserError(f"{FAMILIES[family].noun} {name!r} {reason}: choose another name, of letters, digits and _")
    _registered.setdefault(family, {})[name] = method


def _plain(name: str) -> str:
    """As a file is called: formats are also written with dashes, floors with spaces."""
    return name.replace("-", "_").replace(" ", "_")


def _package(family: str) -> str:
    return f"apportion.pipeline.{family}"


@cache
def _files(family: str) -> tuple[str, ...]:
    """Names of a family's files, less its protocol and what its methods share (`_name.py`)."""
    spec = find_spec(_package(family))
    places = list(spec.submodule_search_locations or ()) if spec else []
    found = (module.name for module in pkgutil.iter_modules(places) if not module.ispkg)
    return tuple(sorted(name for name in found if name != "base" and not name.startswith("_")))


@cache
def _points(family: str) -> dict[str, EntryPoint]:
    return {_plain(point.name): point for point in entry_points(group=f"apportion.{family}")}


def _only_method(module_name: str) -> type:
    """The one public class of a file that is a method."""
    module = importlib.import_module(module_name)
    methods = [
        one
        for name, one in vars(module).items()
        if inspect.isclass(one) and issubclass(one, Method) and one.__module__ == module_name and name[0] != "_"
    ]
    if len(methods) != 1:
        raise TypeError(f"{module_name}: {len(methods)} methods; a file of a family holds one")
    return methods[0]


def _made(place: str, found: Any, parameters: dict[str, Any]) -> Any:
    if not callable(found):
        raise UserError(f"{place}: is an object, not a class, and takes no parameters {parameters}")
    if isinstance(found, type) and issubclass(found, BaseModel):
        try:
            return found(**parameters)
        except ValidationError as error:
            raise UserError(explain(error, found, place)) from None
    refuse_unknown(place, found, parameters)
    try:
        return found(**parameters)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{place}: cannot be made {f'with {parameters}' if parameters else 'without arguments'}: {error}"
        ) from error


def refuse_unknown(place: str, found: Any, parameters: Mapping[str, Any]) -> None:
    """Raise UserError for a parameter that a plain class or function does not take, with the nearest that it does."""
    if not parameters:
        return
    taken = inspect.signature(found).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return
    for name in parameters:
        if name not in taken:
            near = difflib.get_close_matches(name, taken, 1, 0.5)
            cure = f"did you mean {near[0]!r}? it takes" if near else "it takes"
            raise UserError(f"{place}: cannot be made with {name!r}; {cure} {', '.join(taken) or 'none'}")
