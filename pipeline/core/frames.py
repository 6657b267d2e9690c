"""Arrow tables as what the work is done on."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa


def frame(data: pa.Table) -> pl.DataFrame:
    """A table as a polars frame."""
    made = pl.from_arrow(data)
    assert isinstance(made, pl.DataFrame)
    return made


def rows(data: pa.Table) -> list[dict[str, Any]]:
    """A table as a list of rows."""
    result: list[dict[str, Any]] = data.to_pylist()
    return result
