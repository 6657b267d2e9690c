"""Logs of other systems, read into the tables: one importer per format."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.importers import messages, process_bench, who_and_when
from apportion.pipeline.importers.base import Imported

__all__ = ["IMPORTERS", "Imported", "importer"]

IMPORTERS: Mapping[str, Callable[[Path], Imported]] = MappingProxyType(
    {
        who_and_when.FORMAT: who_and_when.read,
        messages.FORMAT: messages.read,
        process_bench.FORMAT: process_bench.read,
    }
)


def importer(name: str) -> Callable[[Path], Imported]:
    """The importer of the format `name`. Raises UserError, with the nearest name, if there is none."""
    if name in IMPORTERS:
        return IMPORTERS[name]
    near = difflib.get_close_matches(name.lower().replace("_", "-"), IMPORTERS, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else "choose one of them."
    raise UserError(f"import: no format '{name}' (there are: {', '.join(IMPORTERS)}); {hint}")
