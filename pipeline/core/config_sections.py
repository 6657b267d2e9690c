"""What the sections of a configuration are made of: bounded keys, names of methods, and the parameters of these."""

from __future__ import annotations

import difflib
import math
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.registry import family


class Section(BaseModel):
    """A table of the configuration. Every number in it has bounds on both sides and is finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Methods(Section):
    """A section that names methods of a family. A table in it, called after one, holds that method's parameters:
    `[advantages] method = "sharp"`, `[advantages.sharp] alpha = 0.5`. They are checked without running the method.
    """

    model_config = ConfigDict(extra="allow")
    family: ClassVar[str]

    @model_validator(mode="after")
    def _known_tables(self) -> Self:
        methods = family(self.family)
        for name, table in (self.model_extra or {}).items():
            if name not in methods.names() or not isinstance(table, dict):
                known = sorted({*type(self).model_fields, *methods.names()})
                near = difflib.get_close_matches(name, known, 1, 0.5)
                cure = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
                section = methods.options.partition(".")[0]
                raise ValueError(f"unknown key '{section}.{name}'; {cure}")
            methods.make(name, table)
        return self

    def make(self, name: str) -> Any:
        """The method called `name` with its parameters."""
        self.refuse_idle_options(name)
        return family(self.family).make(name, self.parameters(name))

    def refuse_idle_options(self, name: str) -> None:
        """Raise UserError where `options` are given, but the method called `name` is none of the user's own."""
        methods, options = family(self.family), getattr(self, "options", {})
        if options and not methods.is_own(name):
            section = methods.options.partition(".")[0]
            raise UserError(
                f"config: {methods.options} ({', '.join(options)}) are for a {methods.noun} of your own, and {name!r} "
                f"is none: they would have no effect; its parameters stand in [{section}.{name}]"
            )

    def parameters(self, name: str) -> dict[str, Any]:
        """The parameters given for the method `name`; those of a user's own stand in `options`."""
        if family(self.family).is_own(name):
            return dict(getattr(self, "options", {}))
        return dict((self.model_extra or {}).get(name, {}))


def named(family_name: str, *more: str) -> AfterValidator:
    """Of a key that names a method of a family (or none, where it may be empty): by its short name, or by the path of
    a user's own. `more`: words of another meaning that may stand there.
    """
    return AfterValidator(lambda name: name if name in more else _checked(family_name, name))


def _checked(family_name: str, name: str) -> str:
    if name and (problem := family(family_name).unknown(name)):
        raise ValueError(problem)
    return name


def _finite(options: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of a user's own code, whose numbers have no bounds that we know."""
    inside: list[Any] = [options]
    while inside:
        one = inside.pop()
        if isinstance(one, float) and not math.isfinite(one):
            raise ValueError(f"{one} is not a finite number")
        inside += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return options


Options = Annotated[dict[str, Any], AfterValidator(_finite)]
