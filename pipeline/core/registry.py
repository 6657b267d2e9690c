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

    `parts`: attributes that a method of anybody's must have. `example`: a file that shows them.
    """

    name: str
    noun: str
    key: str
    parts: tuple[str, ...]
    example: str = "CONTRIBUTING.md"

    def names(self) -> list[str]:
        """The methods that come with the package, then those of installed packages."""
        return [*_files(self.name), *(name for name in _points(self.name) if name not in _files(self.name))]

    def is_own(self, name: str) -> bool:
        """Whether `name` is the path of a user's own code."""
        return name not in _files(self.name) and is_path(name)

    def check(self, name: str) -> str:
        """`name`, if there can be a method of that name. Raises UserError with the nearest name; imports nothing."""
        if not self.is_own(name) and _plain(name) not in self.names():
            known = self.names()
            near = difflib.get_close_matches(_plain(name.lower()), known, 1, 0.6)
            cure = f"did you mean {near[0]!r}?" if near else "or give your own as 'package.module:Class'"
            raise UserError(f"{self.key} = {name!r}: no such {self.noun}; there are {', '.join(known)}; {cure}")
        return name

    def find(self, name: str) -> Any:
        """The class (or object) called `name`. Raises UserError where there is none, or its module fails."""
        self.check(name)
        if self.is_own(name):
            return load(name)
        if _plain(name) in _files(self.name):
            return _only_method(f"{_package(self.name)}.{_plain(name)}")
        return load(_points(self.name)[_plain(name)].value)

    def make(self, name: str, parameters: Mapping[str, Any] = MappingProxyType({})) -> Any:
        """The method called `name` with `parameters`.

        Raises UserError for a parameter that it does not take (with the nearest), for a value that it refuses, and for
        what lacks a part that the family needs.
        """
        found = self.find(name)
        place = f"{self.noun} {name}"
        made = _made(place, found, dict(parameters)) if isinstance(found, type) or parameters else found
        for part in self.parts:
            if not hasattr(made, part):
                raise UserError(f"{place}: it has no {part!r}; see {self.example}")
        return made


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            Family("advantages", "advantage method", "advantages.method", ("needs", "advantages")),
            Family("importers", "log format", "import FORMAT", ("read",)),
            Family("localizers", "localizer", "failures.localizer", ("judge",), "docs/evaluate.md"),
            Family("tasks", "task source", "tasks.source", ("tasks",)),
            Family("teams", "topology", "team.topology", ("name", "answerer", "play"), "examples/dyad.py"),
            Family("tools", "tool", "team.tools.NAME.kind", ("run",)),
            Family("values", "value function", "annotate.value", ("plan",)),
            Family("verifiers", "verifier", "tasks.verifier", ("name", "verify"), "docs/verifiers.md"),
        )
    }
)
"""By the name of the folder."""


def family(name: str) -> Family:
    """The family whose folder is called `name`."""
    return FAMILIES[name]


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
    _refuse_unknown(place, found, parameters)
    try:
        return found(**parameters)
    except (TypeError, ValueError) as error:
        raise UserError(f"{place}: cannot be made with {parameters}: {error}") from error


def _refuse_unknown(place: str, found: Any, parameters: Mapping[str, Any]) -> None:
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
            raise UserError(f"{place}: cannot be made with {name!r}; {cure} {', '.join(taken) or 'no parameter'}")
