"""What is wrong with a configuration, in one line; and its numbers in words."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, config: type[BaseModel], what: str = "config") -> str:
    """The first fault of a configuration (or of `what` else), its place and the cure, and how many more there are."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _keys_beside(first["loc"], config)
        near = difflib.get_close_matches(str(first["loc"][-1]), known, 1, 0.5)
        cure = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known) or 'none'}"
        return f"{what}: unknown key {place!r}; {cure}{more}"
    if first["type"] == "missing":
        return f"{what}: {place!r} is missing{more}"
    if first["type"] == "string_too_long":
        most = first["ctx"]["max_length"]
        return f"{what}: {place} is too long ({len(first['input'])} characters, at most {most}){more}"
    if first["type"] == "value_error" and len(first["loc"]) <= 1:  # a section's own rule names its keys
        return f"{what}: {first['ctx']['error']}{more}"
    said = first["msg"].removeprefix("Value error, ")
    wrong = _wanted(first["loc"], config) or f"{said[0].lower()}{said[1:]}"
    return f"{what}: {place} = {_shown(first['input'])}: {wrong}{more}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:199]}…"


def _wanted(location: tuple[int | str, ...], config: type[BaseModel]) -> str:
    """The number that may stand at `location`, in words; empty where none may."""
    found = _field(location, config)
    signs = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    bounds = {
        name: getattr(one, name) for one in getattr(found, "metadata", ()) for name in signs if hasattr(one, name)
    }
    if not bounds:
        return ""
    kinds = (found.annotation, *getattr(found.annotation, "__args__", ()))
    limits = " and ".join(f"{signs[name]} {number(bounds[name])}" for name in signs if name in bounds)
    return f"must be a {'whole ' if int in kinds else ''}number, {limits}"


def number(value: float) -> str:
    """A bound as people read it, exact."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.15g}"


def _keys_beside(location: tuple[int | str, ...], config: type[BaseModel]) -> list[str]:
    """The known keys of the section in which `location` names an unknown one."""
    found = _field(location[:-1], config)
    model = _model_of(found)
    return sorted({field.alias or name for name, field in model.model_fields.items()} - {"written"}) if model else []


def _field(location: tuple[int | str, ...], config: type[BaseModel]) -> Any:
    """The declared key at `location`, whatever list or table of names it stands in."""
    found: Any = config
    for part in location:
        model = _model_of(found)
        fields = model.model_fields if model else {}
        named = (field for name, field in fields.items() if part in (name, field.alias))
        found = next(named, found)
    return found


def _model_of(place: Any) -> type[BaseModel] | None:
    """The section that a key holds, alone, in a list or by name; None for a plain value."""
    annotation = getattr(place, "annotation", place)
    inner = [a for a in getattr(annotation, "__args__", ()) if isinstance(a, type)]
    models = [a for a in (annotation, *inner) if isinstance(a, type) and issubclass(a, BaseModel)]
    return models[-1] if models else None
