"""Renders the declared tables: SQL views over a store, and docs/tables.md (`python -m apportion.schemas.render`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from apportion.schemas import RELATIONS, SCHEMA_VERSION, TABLES, Table
from apportion.schemas.table import sql_type

_FILE = "_store_file"
DOC = Path(__file__).absolute().parents[2] / "docs" / "tables.md"


@dataclass(frozen=True)
class View:
    """A convenience view over the tables."""

    name: str
    doc: str
    sql: str


_KIND_OF_GAME = (
    "value_kind", "masking", "view", "answerer", "cue", "scorer", "game_window", "k", "decoding", "seed",
)  # fmt: skip
"""Columns of `games` that games of one kind have in common; the others tell games of a kind apart."""

VIEWS: tuple[View, ...] = (
    View(
        "agent_credit",
        "Credit by agent, kind of game and outcome: number of games, mean credit and leave-one-out, share positive, "
        "extremes. Never averaged together: successes, failures and rollouts without a verdict; games by other rules.",
        "SELECT run_id, estimator, player, role, success, count(credit) AS games, "
        "avg(credit) AS mean_credit, avg(loo) AS mean_loo, "
        "avg(CASE WHEN credit > 0 THEN 1.0 WHEN credit <= 0 THEN 0.0 END) AS share_positive, "
        "min(credit) AS min_credit, max(credit) AS max_credit, "
        f"{', '.join(_KIND_OF_GAME)}, verdict "
        f"FROM credits LEFT JOIN (SELECT run_id, game_id, {', '.join(_KIND_OF_GAME)}, "
        "CASE WHEN value_kind IN ('replay', 'recount') THEN target END AS verdict FROM games) "
        "USING (run_id, game_id) LEFT JOIN (SELECT run_id, trajectory_id, success FROM trajectories) "
        "USING (run_id, trajectory_id) WHERE credits.player_kind = 'agent' GROUP BY ALL",
    ),
    View(
        "success",
        "Success rate by origin and team with its 95 % Wilson interval; errors counts rollouts that broke off.",
        "SELECT *, greatest(0, (rate + 1.9208 / n - 1.96 * sqrt(rate * (1 - rate) / n + 0.9604 / (n * n))) "
        "/ (1 + 3.8416 / n)) AS ci_low, "
        "least(1, (rate + 1.9208 / n + 1.96 * sqrt(rate * (1 - rate) / n + 0.9604 / (n * n))) / (1 + 3.8416 / n)) "
        "AS ci_high FROM (SELECT run_id, origin, team, count(success) AS n, "
        "count(*) FILTER (WHERE success) AS successes, "
        "count(*) FILTER (WHERE success) / nullif(count(success), 0) AS rate, "
        "count(error) AS errors FROM trajectories GROUP BY run_id, origin, team)",
    ),
    View(
        "blame",
        "Failures by the step they first went wrong at: agent and which of its turns, mean confidence, and repairs "
        "that fresh continuations confirmed (they solve more often than the recorded message). Each localizer and "
        "target (first wrong step, or decisive one) has rows of its own; where no step is named, reason says why.",
        "WITH turns AS (SELECT run_id, trajectory_id, message_index, row_number() OVER (PARTITION BY run_id, "
        "trajectory_id, agent ORDER BY message_index) AS turn FROM messages WHERE role = 'assistant'), "
        "fixed AS (SELECT run_id, trajectory_id, step, proposal, count(*) AS n FROM repairs "
        "WHERE confirmation_successes / confirmation_k > baseline_successes / baseline_k GROUP BY ALL) "
        "SELECT l.run_id, localizer, target, l.agent, turn, count(*) AS failures, avg(confidence) AS mean_confidence, "
        "coalesce(sum(fixed.n), 0)::INT AS confirmed_repairs, reason FROM localizations l "
        "LEFT JOIN turns ON turns.run_id = l.run_id AND turns.trajectory_id = l.trajectory_id "
        "AND turns.message_index = l.first_error "
        "LEFT JOIN fixed ON fixed.run_id = l.run_id AND fixed.trajectory_id = l.trajectory_id "
        "AND fixed.step = l.first_error AND fixed.proposal = l.localizer GROUP BY ALL",
    ),
)


def literal(path: Path) -> str:
    """The absolute path as a DuckDB glob that matches it alone."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in str(path.absolute()))


def table_view(table: Table, files: Sequence[str]) -> str:
    """The statement that makes `table` queryable from `files`, paths or globs that each match something.

    Every declared column is there, with its declared type, also where shards lack it or there are no files; a column
    whose name SQL reserves is there under its plain name as well. A file's partition is read off the folders just
    above it: those above the store may be called `name=value` too, and say nothing about its rows.
    """
    types = dict.fromkeys(table.partition, "VARCHAR")
    types |= {field.name: sql_type(field.type) for field in table.schema}
    columns = ", ".join([*(f'"{name}"' for name in types), *(f'"{n}" AS {twin}' for n, twin in table.twins.items())])
    source = "SELECT " + ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in types.items()) + " WHERE false"
    if files:
        paths = ", ".join("'" + path.replace("'", "''") + "'" for path in files)
        known = ", ".join(f"'{name}'" for name in (*table.partition, _FILE))
        folders = "/".join(f"{name}=([^/]*)" for name in table.partition)
        parts = "".join(
            f", regexp_extract({_FILE}, '/{folders}/[^/]*$', {place}) AS \"{name}\""
            for place, name in enumerate(table.partition, 1)
        )
        source += (
            f" UNION ALL BY NAME SELECT COLUMNS(lambda c: c NOT IN ({known})){parts} FROM read_parquet([{paths}], "
            f"hive_partitioning=false, union_by_name=true, filename='{_FILE}')"
        )
    return f'CREATE VIEW "{table.name}" AS SELECT {columns} FROM ({source})'


def views(root: Path, run_id: str = "*") -> list[str]:
    """The statements that make every table and convenience view of a store, or of one run, queryable, in order."""
    made = []
    for table in TABLES.values():
        further = "".join(f"{name}=*/" for name in table.partition[1:])
        shards = f"{table.partition[0]}={run_id}/{further}part-*.parquet"
        found = sorted((root / table.name).glob(shards))
        files = [f"{literal(root)}/{table.name}/{shards}"] if found else []
        if "\\" in str(root.absolute()):  # DuckDB's globs take it for a slash
            files = [str(path.absolute()) for path in found]
        made.append(table_view(table, files))
    return made + [f'CREATE VIEW "{view.name}" AS {view.sql}' for view in VIEWS]


def document() -> str:
    """The page docs/tables.md."""
    lines = [
        "# Tables",
        "",
        f"Schema version {SCHEMA_VERSION}. Rendered from `schemas/` by `python -m apportion.schemas.render`.",
        "Later versions add columns, and never rename or remove one.",
        "",
        "Shards are `<store>/<table>/run_id=<run>/part-<shard>.parquet`. A partition column is a folder name",
        "and appears in the views. An invariant holds where its predicate is true or NULL. SQL reserves a few of the",
        "names: such a column has a plain twin in the views, and its own name works there in double quotes.",
        "",
        "Whoever reads the files without the views takes the partitions from the folders inside the store alone. A",
        "folder above it that is called `name=value` (`experiments/seed=3/`) would give a column of that name to every",
        "row, over the file's own: `polars.scan_parquet('data/runs/messages')` starts at the folder that it is given,",
        "and DuckDB's `read_parquet` wants `hive_partitioning=false` there.",
        "",
    ]
    for table in TABLES.values():
        lines += _table_section(table)
    lines += ["## Between tables", "", *(f"* `{item.name}`: {item.doc}" for item in RELATIONS), ""]
    lines += ["## Convenience views", ""]
    for view in VIEWS:
        lines += [f"### {view.name}", "", view.doc, "", "```sql", view.sql, "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _table_section(table: Table) -> Iterator[str]:
    yield from (f"## {table.name}", "", f"{table.doc} One row per {table.row}.", "")
    names = {"Key": table.key, "Sorted by": table.sort_by, "Partitioned by": table.partition}
    yield "; ".join(f"{title}: {', '.join(f'`{name}`' for name in columns)}" for title, columns in names.items())
    yield from ("", "| column | type | unit | null | meaning |", "|---|---|---|---|---|")
    for field in table.schema:
        notes = {key.decode(): value.decode() for key, value in field.metadata.items()}
        null = "yes" if field.nullable else ""
        twin = f"; in SQL also `{notes['twin']}`" if "twin" in notes else ""
        yield f"| `{field.name}` | {sql_type(field.type)} | {notes['unit']} | {null} | {notes['meaning']}{twin} |"
    yield ""
    if table.invariants:
        yield from (*(f"* `{name}`: `{predicate}`" for name, predicate in table.invariants), "")


def main() -> None:
    """Write docs/tables.md."""
    DOC.parent.mkdir(exist_ok=True)
    DOC.write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    main()
