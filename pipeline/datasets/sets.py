"""The tables of one or several runs, made into the data sets of `formats`, cleaned and split by question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa

from apportion.pipeline.core.ids import digest
from apportion.pipeline.datasets.formats import CONFIGS, KTO, SPLITS, STEPWISE
from apportion.pipeline.datasets.hygiene import apart, clean, length_bias, of_task, questions_of, with_split
from apportion.pipeline.datasets.pairs import fates
from apportion.pipeline.datasets.stepwise import stepwise
from apportion.schemas import TABLES

READ = ("tasks", "trajectories", "messages", "steps", "localizations", "repairs", "preferences", "train_rows")
"""The tables that an export is made of."""

Frame: TypeAlias = pl.DataFrame | pa.Table


@dataclass(frozen=True)
class DataSets:
    """Configuration name -> rows, in the declared columns; and the figures for the data card, as plain JSON."""

    tables: dict[str, pa.Table]
    report: dict[str, Any]


def data_sets(
    tables: Mapping[str, Frame],
    *,
    validation: float,
    test: float,
    evaluation: Iterable[str] = (),
    successes: bool = False,
) -> DataSets:
    """Build `preference`, `kto`, `stepwise` and `grpo` from tables named as in `READ`; a missing table is empty.

    Rows of several runs may stand one below the other. Questions of `evaluation` are dropped from all four; the
    rest are split by question with one rule, so that no question lies on two sides anywhere in the folder.
    `successes`: see `stepwise`. Deterministic: the order of the rows that come in does not matter.
    Raises UserError for impossible shares, WorkError for rows whose task or trajectory is missing.
    """
    given = {name: _frame(tables.get(name, TABLES[name].empty()), name) for name in READ}
    asked = list(evaluation)
    tasks = given["tasks"]

    def sides(rows: pl.DataFrame) -> pl.DataFrame:
        return with_split(rows, tasks, validation=validation, test=test)

    cleaned = clean(given["preferences"], tasks, evaluation=asked)
    preference = sides(cleaned.pairs).sort("task_id", "pair_id")
    single, both = kto(preference)
    labelled = stepwise(
        given["localizations"], given["messages"], given["trajectories"], given["steps"], successes=successes
    )
    graded = _with_prompt(labelled.rows, tasks)
    graded, graded_known = apart(graded, tasks, asked)
    rows = of_task(given["train_rows"].unique("row_id"), given["trajectories"])
    rows, rows_known = apart(rows, tasks, asked)
    frames = {
        "preference": preference,
        "kto": single,
        "stepwise": sides(graded).sort(STEPWISE.sort_by),
        "grpo": sides(rows).sort(TABLES["train_rows"].sort_by).drop("task_id"),
    }
    built = {name: CONFIGS[name].conform(frame.to_arrow()) for name, frame in frames.items()}
    report = {
        "rows": {name: _by(frame, "split", SPLITS) for name, frame in frames.items()},
        "questions": _questions(preference, sides(graded), sides(rows)),
        "repairs": fates(given["repairs"]),
        "dropped": cleaned.dropped,
        "evaluation": len(asked),
        "contaminated": {"stepwise": graded_known, "grpo": rows_known},
        "kinds": _by(preference, "kind"),
        "samples": _by(preference.select(k=pl.format("{} / {}", "chosen_k", "rejected_k")), "k"),
        "margin": preference["margin"].mean(),
        "weight": preference["weight"].mean(),
        "length": asdict(length_bias(preference)),
        "kto_both": both,
        "localizations": labelled.counts,
        "localizers": _by(graded.select(by=pl.format("{} ({})", "localizer", "target")), "by"),
        "methods": _by(rows, "method"),
        "agents": _by(preference, "agent"),
    }
    return DataSets(built, report)


def kto(preference: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Both sides of every pair as single answers, each prompt and answer once, in the order of a hash.

    An answer that is the better side of one pair and the worse of another has no label: it is left out, and counted.
    Of several pairs the answer keeps the counts of its largest sample.
    """
    shared = ("prompt", "weight", "prompt_ids", "kind", "agent", "task_id", "pair_id", "split")
    both = pl.concat(
        preference.select(
            *shared,
            pl.col(side).alias("completion"),
            pl.lit(side == "chosen").alias("label"),
            pl.col(f"{side}_ids").alias("completion_ids"),
            pl.col(f"{side}_k").alias("k"),
            pl.col(f"{side}_successes").alias("successes"),
        )
        for side in ("chosen", "rejected")
    )
    prompts = zip(both["prompt_ids"].to_list(), both["prompt"].to_list(), both["completion"].to_list(), strict=True)
    keys = pl.Series("key", [digest([ids or turns, said]) for ids, turns, said in prompts], dtype=pl.String)
    best = both.with_columns(keys).sort("key", "k", "weight", "pair_id", descending=[False, True, True, False])
    labels = pl.col("label").n_unique().over("key")
    single = best.filter(labels == 1).unique("key", keep="first", maintain_order=True)
    return single.select(KTO.schema.names), best.filter(labels > 1)["key"].n_unique()


def _frame(data: Frame, name: str) -> pl.DataFrame:
    """The declared columns; what the store adds (the run) is not needed here."""
    frame = data if isinstance(data, pl.DataFrame) else pl.DataFrame(data)
    names = TABLES[name].schema.names
    return pl.DataFrame(TABLES[name].conform(frame.select(n for n in names if n in frame.columns).to_arrow()))


def _with_prompt(rows: list[dict[str, Any]], tasks: pl.DataFrame) -> pl.DataFrame:
    empty = pl.DataFrame(STEPWISE.empty())
    frame = pl.DataFrame(rows, schema={name: empty.schema[name] for name in empty.columns if name != "prompt"})
    return frame.with_columns(questions_of(frame["task_id"], tasks).alias("prompt")).select(empty.columns)


def _questions(*frames: pl.DataFrame) -> dict[str, int]:
    """Distinct tasks on each side, over all data sets."""
    sides = []
    for frame in frames:
        sides.append(frame.select("task_id", "split"))
    return _by(pl.concat(sides).unique(), "split", SPLITS)


def _by(rows: pl.DataFrame, name: str, known: Iterable[str] = ()) -> dict[str, int]:
    """Rows by the values of a column, in their order; `known` values without rows are 0."""
    counted = dict(rows[name].value_counts().iter_rows())
    return {value: int(counted.get(value, 0)) for value in (known or sorted(counted))}
