"""A run's manifest is data: code that it names runs only where this call names it too, or trusts the manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest
from apportion.pipeline.core.paths import change_paths
from apportion.pipeline.core.registry import FAMILIES
from apportion.pipeline.runs.store import Store

PLAYED = frozenset(FAMILIES) - {"advantages", "importers"}
"""Families whose methods run where a team's runs are sampled, continued and judged."""


def own_code(config: Config, families: Collection[str] = PLAYED) -> dict[str, str]:
    """What a configuration names that is imported to do what it says, by key: paths, and what they are given.

    The arguments (as JSON) belong to it: what `os:system` does stands in them.
    """
    named: dict[str, str] = {}
    values = config.model_dump(mode="json")
    change_paths(values, lambda key, path: os.path.abspath(path))  # one file, however it is written
    for family in (FAMILIES[name] for name in FAMILIES if name in families):
        for place, path in _at(values, family.key):
            if family.is_own(path):
                options = family.options.replace("NAME", place)
                given = dict(_at(values, options)).get("")
                named |= {family.key.replace("NAME", place): path} | ({options: _arguments(given)} if given else {})
    return named


def _at(values: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    """What stands at a key of a configuration, where anything does; for `a.NAME.b` by name, else under an empty one."""
    before, _, rest = key.partition(".")
    if before == "NAME":
        yield from ((name, found) for name, table in values.items() for _, found in _at(table, rest))
    elif before in values:
        yield from _at(values[before], rest) if rest else [("", values[before])]


def _arguments(options: Mapping[str, Any]) -> str:
    return json.dumps(options, sort_keys=True, ensure_ascii=False, default=str)


def refuse_foreign_code(config: Config, named: Config, manifest: Path, families: Collection[str] = PLAYED) -> None:
    """Raise UserError where `config` names code of some families that comes from the `manifest` alone, not from this
    call (`named`)."""
    ours = own_code(named, families).items()
    foreign = {key: path for key, path in own_code(config, families).items() if (key, path) not in ours}
    if foreign:
        code = ", ".join(f"{key} = {path!r}" for key, path in foreign.items())
        sets = " ".join(f"--set {key}={'...' if key.endswith('options') else path}" for key, path in foreign.items())
        raise UserError(
            f"{manifest}: this manifest names code to run, which is not run on its word: {code}; if you know the code, "
            f"name it in this call too ({sets}, or --config FILE), or say --trust"
        )


def rules_kept(manifest: Mapping[str, Any] | None, name: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The rules of games that a value function of the user's own played in this run; None where it never did."""
    kept = (manifest or {}).get("values")
    found = kept.get(digest([name, options])) if isinstance(kept, dict) else None
    return found if isinstance(found, dict) else None


def keep_rules(store: Store, run: str, name: str, options: Mapping[str, Any], rules: Mapping[str, Any]) -> None:
    """Keep them in the manifest: whoever only reads the credit imports no code."""
    manifest = store.manifest(run) or {}
    kept = {**manifest.get("values", {}), digest([name, options]): {**rules}}
    store.write_manifest(run, {**manifest, "values": kept})
