"""Stage: the tables of one or several runs -> a data set folder with card, manifest and resolved configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from apportion.pipeline.audit.summary import paragraph
from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.datasets.formats import CONFIGS, SPLITS
from apportion.pipeline.datasets.sets import READ, DataSets, data_sets
from apportion.pipeline.datasets.write import ready, write
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages import advantages, audit
from apportion.pipeline.stages.common import set_apart


@dataclass(frozen=True)
class ExportPlan:
    """What `export` would write."""

    configs: Mapping[str, Config]
    folder: Path
    sets: DataSets
    policies: tuple[str, ...]
    """The policies that wrote the runs' messages."""

    @property
    def rows(self) -> dict[str, int]:
        """Rows of every file, by its path in the folder."""
        found = {(name, split): 0 for name in CONFIGS for split in SPLITS}
        for name, table in self.sets.tables.items():
            for split in table["split"].to_pylist():
                found[name, split] += 1
        return {f"{name}/{split}.parquet": count for (name, split), count in found.items() if count}


def plan(configs: Mapping[str, Config], folder: Path) -> ExportPlan:
    """Make the data sets of some runs, each with its own configuration; writes nothing. Refuses a folder not its own.

    GRPO's rows are made by the configured method.
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
    wrote = {policy for policy in tables["messages"]["policy_id"].to_pylist() if policy}
    return ExportPlan(configs, folder, sets, tuple(sorted(wrote)))


def run(configs: Mapping[str, Config], folder: Path) -> dict[str, Any]:
    """Write the export of some runs; the manifest. The audit of a credited run is brought up to date and goes along."""
    planned = plan(configs, folder)
    figures = {name: audit.made(one, name) for name, one in configs.items()}
    return write(
        folder,
        planned.sets.tables,
        config=next(iter(configs.values())).as_told(),
        provenance={"runs": list(configs), "policies": list(planned.policies)},
        report=planned.sets.report,
        audits={name: (paragraph(one.to_pylist()), one) for name, one in figures.items() if one is not None},
    )
