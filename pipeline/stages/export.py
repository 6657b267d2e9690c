"""Stage: the tables of one or several runs -> a data set folder with card, manifest and resolved configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.audit.summary import paragraph
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.export.sets import READ, data_sets
from pipeline.export.write import ready, write
from pipeline.stages import advantages, audit
from pipeline.stages.common import set_apart
from pipeline.store import Store


def run(configs: Mapping[str, Config], folder: Path) -> dict[str, Any]:
    """Write the export of some runs, each with its own configuration; the manifest. Refuses a folder not its own.

    GRPO's rows are made by the configured method. The audit of a credited run is brought up to date and goes along.
    """
    ready(folder)
    config = next(iter(configs.values()))
    store = Store(config.store_root)
    tables = {table: pa.concat_tables(store.read(table, name) for name in configs) for table in READ}
    if not tables["trajectories"].num_rows:
        raise UserError(f"run {next(iter(configs))!r} has no trajectories; see `apportion runs list`")
    sampled = [n for n in configs if any(p.stem.startswith("part-sampled-") for p in store.shards("trajectories", n))]
    made = [advantages.make(configs[name], name).rows for name in sampled]
    tables["train_rows"] = pa.concat_tables(made) if made else tables["train_rows"].slice(0, 0)
    section = config.export
    sets = data_sets(tables, validation=section.validation, test=section.test, evaluation=set_apart(config))
    figures = {name: audit.made(one, name) for name, one in configs.items()}
    wrote = {policy for policy in tables["messages"]["policy_id"].to_pylist() if policy}
    return write(
        folder,
        sets.tables,
        config=config.as_told(),
        provenance={"runs": list(configs), "policies": sorted(wrote)},
        report=sets.report,
        audits={name: (paragraph(one.to_pylist()), one) for name, one in figures.items() if one is not None},
    )
