"""Stage: the tables of one or several runs -> a data set folder with card, manifest and resolved configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.export.sets import READ, data_sets
from pipeline.export.write import check_place, write
from pipeline.stages import advantages
from pipeline.store import Store
from pipeline.tasks.files import load_tasks


def run(config: Config, runs: list[str], folder: Path) -> dict[str, Any]:
    """Write the export; the manifest. GRPO's rows are made by the configured method. Refuses a folder not its own."""
    check_place(folder)
    store = Store(config.store_root)
    for name in runs:
        if any(path.stem.startswith("part-sampled-") for path in store.shards("trajectories", name)):
            advantages.run(config, name)
    tables = {table: pa.concat_tables(store.read(table, name) for name in runs) for table in READ}
    if not tables["trajectories"].num_rows:
        raise UserError(f"run {runs[0]!r} has no trajectories; see `apportion runs list`")
    tables["train_rows"] = tables["train_rows"].filter(pc.field("method") == config.advantages.method)
    section = config.export
    known = [task.question for task in load_tasks(section.evaluation)[0]] if section.evaluation else []
    made = data_sets(tables, validation=section.validation, test=section.test, evaluation=known)
    audit = pa.concat_tables(store.read("audit", name) for name in runs).drop_columns("run_id")
    policies = pa.concat_tables(store.read("policies", name) for name in runs)["policy_id"].to_pylist()
    return write(
        folder,
        made.tables,
        config=config.model_dump(mode="json"),
        provenance={"runs": runs, "policies": sorted(set(policies))},
        report=made.report,
        audit=audit if audit.num_rows else None,
    )
