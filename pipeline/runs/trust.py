"""A run's manifest is data: code that it names runs only where this call names it too, or trusts the manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.registry import family
from apportion.pipeline.teams.load import TOOLS, TOPOLOGIES, Nature, is_own, load_topology, nature_of
from apportion.pipeline.verifiers import VERIFIERS


def own_code(config: Config) -> dict[str, str]:
    """What a configuration names that is imported to do what it says, by key: dotted paths, and what they are given.

    The arguments (as JSON) belong to it: what `os:system` does stands in them.
    """
    team, tasks = config.team, config.tasks
    named = {
        "team.topology": team.topology if is_own(team.topology, TOPOLOGIES) else "",
        "tasks.verifier": tasks.verifier if is_own(tasks.verifier, VERIFIERS) else "",
        "tasks.source": tasks.source,
        "tasks.options": _arguments(tasks.options) if tasks.source else "",
    }
    if family("localizers").is_own(config.failures.localizer):
        named |= {
            "failures.localizer": config.failures.localizer,
            "failures.options": _arguments(config.failures.options),
        }
    for name, tool in team.tools.items():
        if is_own(tool.kind, TOOLS):
            named |= {f"team.tools.{name}.kind": tool.kind, f"team.tools.{name}.options": _arguments(tool.options)}
    return {key: path for key, path in named.items() if path}


def _arguments(options: Mapping[str, Any]) -> str:
    return json.dumps(options, sort_keys=True, ensure_ascii=False, default=str) if options else ""


def refuse_foreign_code(config: Config, named: Config, manifest: Path) -> None:
    """Raise UserError where `config` names code that comes from the `manifest` alone, not from this call (`named`)."""
    ours = own_code(named).items()
    foreign = {key: path for key, path in own_code(config).items() if (key, path) not in ours}
    if foreign:
        code = ", ".join(f"{key} = {path!r}" for key, path in foreign.items())
        sets = " ".join(f"--set {key}={'...' if key.endswith('.options') else path}" for key, path in foreign.items())
        raise UserError(
            f"{manifest}: this manifest names code to run, which is not run on its word: {code}; if you know the code, "
            f"name it in this call too ({sets}, or --config FILE), or say --trust"
        )


def nature_for(config: Config, manifest: Mapping[str, Any] | None, *, dry: bool) -> tuple[Nature, str]:
    """The nature of the configured topology, and what of it is assumed.

    A dry run imports no code of the team's own: it reads the run's manifest, and assumes where that says nothing.
    """
    path = config.team.topology
    if not dry or path in TOPOLOGIES:
        return nature_of(load_topology(path)), ""
    told = (manifest or {}).get("topology")
    if isinstance(told, dict) and told.get("path") == path:
        return Nature(str(told.get("name")), str(told.get("answerer")), str(told.get("value"))), ""
    assumed = Nature(path, "player", "likelihood")
    return assumed, (
        f"a dry run does not import team.topology = {path!r}: counted as if its games were worth a {assumed.value} and "
        f"its answer were a {assumed.answerer}'s move (annotate.value and annotate.answerer say otherwise)"
    )
