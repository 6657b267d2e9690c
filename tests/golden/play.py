"""Play the golden runs in a folder and keep what every step made."""

from __future__ import annotations

from pathlib import Path

import road
from record import Record, recorded, shards, written
from steps import prepare, steps


def play(folder: Path) -> Record:
    """The tables of every step: what it wrote into the store, sorted, and what it gave back, in its order."""
    prepare(folder)
    store = folder / "data" / "runs"
    record: Record = {}
    with road.stand_ins():
        for name, step in steps():
            before = shards(store)
            made = step(folder)
            record[name] = {
                **{table: recorded(rows, folder, in_order=False) for table, rows in written(store, before).items()},
                **{f"made/{table}": recorded(rows, folder, in_order=True) for table, rows in made.items()},
            }
    return record
