"""Renders docs/configuration.md, every key of a configuration (`python -m docs.render.configuration`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.registry import FAMILIES, Family
from docs.render.methods import keys, methods, parameters_of

DOC = Path(__file__).parents[1] / "configuration.md"
NAMED = {"agents": "[[team.agents]]", "solo": "[team.solo]", "tools": "[team.tools.NAME]"}
"""Headings of what a team is made of."""
_HEAD = """# Configuration

Every key, rendered by `python -m docs.render.configuration`. A configuration is a TOML file
(`--config FILE.toml`) and single keys after it, `--set section.key=value`. A run remembers the configuration that it
was sampled with. `[team]` may name a `file`, a TOML file with the team's keys.

A section that names a method holds its parameters in a table of the method's name: `[advantages]` with
`method = "sharp"` reads `[advantages.sharp]`. A method of your own is named by its path, `package.module:Class` or
`file.py:Class`, and its parameters stand in `[advantages.options]`. What each method does: [methods.md](methods.md).

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
        for family in (one for one in FAMILIES.values() if one.options.startswith(f"{section}.")):
            parts += _parameters(family)
    return "\n".join(parts).rstrip() + "\n"


def _section(title: str, model: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    places = {key: NAMED[key] for key, field in model["properties"].items() if _definition(schema, field)}
    yield from (f"## {title}", "", *keys(model["properties"], places))
    for key, place in places.items():
        if key != "solo":
            yield from _section(place, _definition(schema, model["properties"][key]) or {}, schema)


def _parameters(family: Family) -> Iterator[str]:
    """The parameters of the methods of a family that come with the package, where it is set how they are given."""
    for name in methods(family):
        if fields := parameters_of(family, name):
            yield from (f"## {family.table(name)}", "", *keys(fields, {}))


def _definition(schema: Mapping[str, Any], field: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The section that a key holds, alone, in a list or by name; None for a plain value."""
    places = [field, field.get("items"), field.get("additionalProperties"), *field.get("anyOf", ())]
    for place in places:
        if isinstance(place, dict) and "$ref" in place:
            found: Mapping[str, Any] = schema["$defs"][place["$ref"].rpartition("/")[2]]
            return found
    return None


if __name__ == "__main__":
    DOC.write_text(document(), encoding="utf-8")
