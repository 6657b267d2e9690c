"""Tables about the data itself: audit figures and input rows set aside."""

from __future__ import annotations

import pyarrow as pa

from apportion.schemas.table import TEXT, Table, column, one_of

AUDIT = Table(
    name="audit",
    doc="Audit figures, each with its interval and what it was computed over.",
    row="figure",
    schema=pa.schema(
        [
            column("check", TEXT, "audit that made the figure", twin="check_name"),
            column("metric", TEXT, "name of the figure"),
            column("scope", TEXT, "estimator, role or other subset; all where none"),
            column("value", pa.float64(), "the figure; null where it is undefined", null=True),
            column("ci_low", pa.float64(), "lower end of the 95 % interval", null=True),
            column("ci_high", pa.float64(), "upper end of the 95 % interval", null=True),
            column("n", pa.int64(), "what it was computed over", unit="rows or trajectories"),
            column("note", TEXT, "why it is undefined, or a caveat", null=True),
        ]
    ),
    key=("check", "metric", "scope"),
    sort_by=("check", "metric", "scope"),
    invariants=(("interval_ordered", "ci_low <= ci_high"), ("n_not_negative", "n >= 0")),
)

REJECTS = Table(
    name="rejects",
    doc="Input rows that were set aside; the rest went on.",
    row="input row",
    schema=pa.schema(
        [
            column("stage", TEXT, "stage that refused the row"),
            column("file", TEXT, "input file"),
            column("line", pa.int64(), "line in the file, from 1", unit="lines"),
            column("reason", TEXT, "why it was refused"),
            column("raw", TEXT, "the row as it was, cut if long", null=True),
            column("code", TEXT, "what a credit set aside: a trajectory, or its game of messages alone", null=True),
        ]
    ),
    key=("stage", "file", "line", "reason"),
    sort_by=("file", "line", "stage"),
    invariants=(("reason_given", "reason <> ''"), one_of("code", "unplayable", "messages_unplayable")),
)
