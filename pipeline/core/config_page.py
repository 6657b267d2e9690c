"""Renders docs/configuration.md, every key of a configuration (`python -m apportion.pipeline.core.config_page`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.config_errors import number

DOC = Path(__file__).absolute().parents[3] / "docs" / "configuration.md"
NAMED = {"agents": "[[team.agents]]", "solo": "[team.solo]", "tools": "[team.tools.NAME]"}
"""Headings of what a team is made of."""
_HEAD = """# Configuration

Every key, rendered by `python -m apportion.pipeline.core.config_page`. A configuration is a TOML file
(`--config FILE.toml`) and single keys after it, `--set section.key=value`. A run remembers the configuration that it
was sampled with. `[team]` may name a `file`, a TOML file with the team's keys.

Some files come with the package and are found from any folder by their names: `configs/demo.toml`, `configs/loop.toml`,
`configs/gsm8k.toml` and the teams `configs/teams/NAME.toml`. A file of that name in the working directory goes first.

A relative path in a TOML file is relative to that file; where nothing is there, to the working directory, then to the
package. A relative path given by `--set` or as an argument is relative to the working directory, as is the default of
`run.data`. In the files of the package, `data/...` is the data folder, `run.data`. Ids are made from paths as they were
written, never from where they lead: the same run has the same ids in a folder of another name.
"""


def document() -> str:
    """The page."""
    schema = Config.model_json_schema()
    parts = [_HEAD]
    for section, field in schema["properties"].items():
        if "patternProperties" in field:  # tables by name
            parts += [f"## [{section}.NAME]", "", " ".join(field["description"].split()), ""]
        else:
            parts += _section(f"[{section}]", _definition(schema, field) or {}, schema)
    return "\n".join(parts).rstrip() + "\n"


def _section(title: str, model: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"## {title}", "", "| key | value | default | meaning |", "|---|---|---|---|")
    inner = []
    for key, field in model["properties"].items():
        meaning = " ".join(field.get("description", "").split())
        default = field.get("default")
        shown = "" if default is None else f"`{json.dumps(default, ensure_ascii=False)}`"
        found = _definition(schema, field)
        if found:
            inner.append((NAMED[key], found))
        yield f"| `{key}` | {NAMED[key] if found else _value(field)} | {shown} | {meaning} |"
    yield ""
    for name, found in inner:
        if "solo" not in name:
            yield from _section(name, found, schema)


def _definition(schema: Mapping[str, Any], field: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The section that a key holds, alone, in a list or by name; None for a plain value."""
    places = [field, field.get("items"), field.get("additionalProperties"), *field.get("anyOf", ())]
    for place in places:
        if isinstance(place, dict) and "$ref" in place:
            found: Mapping[str, Any] = schema["$defs"][place["$ref"].rpartition("/")[2]]
            return found
    return None


def _value(field: Mapping[str, Any]) -> str:
    """Its type, with what is allowed."""
    kinds = [one for one in field.get("anyOf", [field]) if one.get("type") != "null"]
    if len(kinds) > 1:
        return " or ".join(_value(one) for one in kinds)
    (kind,) = kinds
    if "enum" in kind:
        return ", ".join(f"`{one}`" for one in kind["enum"])
    if kind["type"] == "array":
        inner = kind.get("items", {})
        return f"list of {_value(inner)}" if inner.get("type") != "array" else "list of pairs"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {number(kind[name])}" for name, sign in signs.items() if name in kind]
    names = {"object": "table", "string": "text", "boolean": "`true`, `false`"}
    return " ".join([names.get(kind["type"], kind["type"]), *bounds])


if __name__ == "__main__":
    DOC.write_text(document(), encoding="utf-8")
