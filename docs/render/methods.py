"""Renders the end of docs/methods.md: every method (`python -m docs.render.methods`)."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from apportion.pipeline.core.config_errors import number
from apportion.pipeline.core.registry import FAMILIES, Family

DOC = Path(__file__).parents[1] / "methods.md"
START = "<!-- From here on rendered by `python -m docs.render.methods`. -->"
_HEAD = """
## Every method

What comes with the package, by the key that names it. A method of your own is one file
([CONTRIBUTING.md](../CONTRIBUTING.md)).
"""


def document() -> str:
    """The page: what people wrote before `START`, then the methods."""
    written, _, _ = DOC.read_text(encoding="utf-8").partition(START)
    parts = [written.rstrip(), "", START, _HEAD]
    for family in FAMILIES.values():
        names = methods(family)
        parts += [f"### {family.noun.capitalize()}: `{family.key}`", ""] if names else []
        for name in names:
            parts += [f"#### {name}", "", *described(family, name)]
    return "\n".join(parts).rstrip() + "\n"


def methods(family: Family) -> list[str]:
    """The names of the methods that come with the package."""
    return family.shipped()


def described(family: Family, name: str) -> Iterator[str]:
    """A method's docstring, and the table of its parameters."""
    yield from (inspect.getdoc(family.find(name)) or "", "")
    fields = parameters_of(family, name)
    if fields:
        yield from (f"Parameters, `{family.table(name)}`:", "", *keys(fields, {}))


def parameters_of(family: Family, name: str) -> Mapping[str, Any]:
    """The fields of a method as JSON schema, by key."""
    fields: Mapping[str, Any] = family.find(name).model_json_schema(by_alias=True).get("properties", {})
    return fields


def keys(fields: Mapping[str, Any], places: Mapping[str, str]) -> Iterator[str]:
    """A table of keys, from their JSON schema; `places`: where the tables stand that a key holds."""
    yield from ("| key | value | default | meaning |", "|---|---|---|---|")
    for key, field in fields.items():
        meaning = " ".join(field.get("description", "").split())
        default = field.get("default")
        shown = "" if default is None else f"`{json.dumps(default, ensure_ascii=False)}`"
        yield f"| `{key}` | {places.get(key) or _value(field)} | {shown} | {meaning} |"
    yield ""


def _value(field: Mapping[str, Any]) -> str:
    """Its type, with what is allowed."""
    kinds = [one for one in field.get("anyOf", [field]) if one.get("type") != "null"]
    if len(kinds) > 1:
        return " or ".join(_value(one) for one in kinds)
    (kind,) = kinds
    if "const" in kind:
        return f"`{kind['const']}`"
    if "enum" in kind:
        return ", ".join(f"`{one}`" for one in kind["enum"])
    if kind.get("type") == "array":
        inner = kind.get("items", {})
        return f"list of {_value(inner)}" if inner.get("type") != "array" else "list of pairs"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {number(kind[name])}" for name, sign in signs.items() if name in kind]
    names = {"object": "table", "string": "text", "boolean": "`true`, `false`"}
    return " ".join([names.get(kind.get("type", "object"), kind.get("type", "")), *bounds])


if __name__ == "__main__":
    DOC.write_text(document(), encoding="utf-8")
