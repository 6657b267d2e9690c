"""What keeps a data set honest: nothing unconfirmed, doubled, contradictory or contaminated, and lengths reported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from apportion.pipeline.core.errors import WorkError
from apportion.pipeline.core.ids import digest
from apportion.pipeline.core.intervals import wilson
from apportion.pipeline.datasets.split import contaminated, split_of, tokens

REASONS = ("unconfirmed", "identical", "near_identical", "contradicted", "duplicate", "contaminated")
_FILLERS = frozenset(["a", "an", "the", "so", "thus", "hence", "therefore", "then", "well", "now", "ok", "okay"])


@dataclass(frozen=True)
class LengthBias:
    """Are the chosen sides longer? `low` and `high` bound `longer` at 95 % (Wilson); without 0.5 there is a bias.

    `longer` is the share of chosen sides that are longer, among pairs of unequal length; None where there are none.
    Pairs of one step share their rejected side, so the interval is a little narrow.
    """

    pairs: int
    unit: str
    chosen_mean: float | None
    rejected_mean: float | None
    equal: int
    longer: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Cleaned:
    """Pairs that passed and how many were dropped for each of `REASONS`; a pair counts once, the first that applies."""

    pairs: pl.DataFrame
    dropped: dict[str, int] = field(default_factory=dict)


def clean(preferences: pl.DataFrame, tasks: pl.DataFrame, *, evaluation: Iterable[str] = ()) -> Cleaned:
    """Drop pairs that would teach nothing or the wrong thing, in the order of `REASONS`. Status: ours.

    * unconfirmed: no fresh continuations of either side, or no gain in them;
    * identical: the same text but for the space around it;
    * near_identical: the same words, numbers and operators but for case, punctuation, articles and fillers ("so",
      "thus"). No similarity threshold: two messages of one pattern that differ in a single name ("ask homes: Where
      does Nell Birch live?") or number are what a pair is for, however long they are;
    * contradicted: another pair of the same prompt says the opposite; both go;
    * duplicate: another pair has the same prompt and sides, on samples at least as large (ties: smaller pair_id);
    * contaminated: its question is in `evaluation` (see `split.contaminated`).

    `preferences` as the table, `tasks` with task_id and question. Columns and order stay. Cost: linear. Raises
    WorkError for a pair whose task is missing.
    """
    chosen, rejected = _texts(preferences, "chosen"), _texts(preferences, "rejected")
    sides = list(zip(chosen, rejected, strict=True))
    prompts = zip(preferences["prompt_ids"].to_list(), preferences["prompt"].to_list(), strict=True)
    rows = preferences.with_columns(
        pl.lit(None, dtype=pl.String).alias("reason"),
        pl.int_range(pl.len()).alias("order"),
        pl.Series("asked", [digest(ids or turns) for ids, turns in prompts], dtype=pl.String),
        pl.Series("better", chosen, dtype=pl.String),
        pl.Series("worse", rejected, dtype=pl.String),
    )
    gain = pl.col("chosen_successes") / pl.col("chosen_k") - pl.col("rejected_successes") / pl.col("rejected_k")
    sound = (pl.col("chosen_k") >= 1) & (pl.col("rejected_k") >= 1) & (gain > 0)
    rows = _mark(rows, "unconfirmed", ~sound.fill_null(False))
    rows = _mark(rows, "identical", [better.strip() == worse.strip() for better, worse in sides])
    rows = _mark(rows, "near_identical", [content(better) == content(worse) for better, worse in sides])
    left = rows.filter(pl.col("reason").is_null())
    reverse = left.select("asked", worse="better", better="worse")
    opposite = left.join(reverse, on=["asked", "better", "worse"], how="semi")["order"]
    rows = _mark(rows, "contradicted", pl.col("order").is_in(opposite.implode()))
    best = (
        rows.filter(pl.col("reason").is_null())
        .sort(pl.col("chosen_k") + pl.col("rejected_k"), "pair_id", descending=[True, False], maintain_order=True)
        .unique(["asked", "better", "worse"], keep="first", maintain_order=True)["order"]
    )
    rows = _mark(rows, "duplicate", ~pl.col("order").is_in(best.implode()))
    rows = _mark(rows, "contaminated", contaminated(questions_of(rows["task_id"], tasks), evaluation))
    counted = dict(rows["reason"].drop_nulls().value_counts().iter_rows())
    kept = rows.filter(pl.col("reason").is_null()).select(preferences.columns)
    return Cleaned(kept, {reason: int(counted.get(reason, 0)) for reason in REASONS})


def content(text: str) -> list[str]:
    """The words, numbers and operators of a message that two near-identical messages share, in their order."""
    said = tokens(text)
    return [token for token in said if token not in _FILLERS] or said


def questions_of(task_ids: pl.Series, tasks: pl.DataFrame) -> pl.Series:
    """The question of each task id, in order. Raises WorkError for a task that is not in `tasks`."""
    known = tasks.select("task_id", "question").unique("task_id")
    found = pl.DataFrame({"task_id": task_ids}, schema={"task_id": pl.String}).join(
        known, on="task_id", how="left", maintain_order="left"
    )
    missing = found.filter(pl.col("question").is_null())
    if len(missing):
        raise WorkError(f"tasks: {missing['task_id'][0]} is not there: export it with the run that sampled it")
    return found["question"]


def of_task(rows: pl.DataFrame, trajectories: pl.DataFrame) -> pl.DataFrame:
    """Training rows with the task of their rollout. Raises WorkError for a rollout that is not in `trajectories`."""
    known = trajectories.select("trajectory_id", "task_id").unique("trajectory_id")
    found = rows.join(known, on="trajectory_id", how="left", maintain_order="left")
    if orphans := found.filter(pl.col("task_id").is_null())["trajectory_id"].to_list():
        raise WorkError(f"train_rows: trajectory {orphans[0]} is not there: export it with the run that sampled it")
    return found


def apart(rows: pl.DataFrame, tasks: pl.DataFrame, evaluation: Iterable[str]) -> tuple[pl.DataFrame, int]:
    """`rows` (with a task_id) without those whose question is in the evaluation set, and how many these were."""
    known = pl.Series(contaminated(questions_of(rows["task_id"], tasks), evaluation), dtype=pl.Boolean)
    return rows.filter(~known), int(known.sum())


def with_split(rows: pl.DataFrame, tasks: pl.DataFrame, *, validation: float, test: float) -> pl.DataFrame:
    """`rows` (with a task_id) with their `split` set by question: all rows of a question are on one side."""
    sides = split_of(questions_of(rows["task_id"], tasks), validation, test)
    return rows.with_columns(split=pl.Series(sides, dtype=pl.String))


def length_bias(preferences: pl.DataFrame) -> LengthBias:
    """Lengths of the two sides, in tokens where every pair has them, else in words. No pairs: nothing but zeros."""
    has_ids = preferences["chosen_ids"].null_count() + preferences["rejected_ids"].null_count() == 0
    chosen, rejected = (
        preferences[f"{side}_ids"].list.len().cast(pl.Int64).to_list()
        if has_ids
        else [len(text.split()) for text in _texts(preferences, side)]
        for side in ("chosen", "rejected")
    )
    pairs = len(preferences)
    longer = sum(c > r for c, r in zip(chosen, rejected, strict=True))
    unequal = sum(c != r for c, r in zip(chosen, rejected, strict=True))
    low, high = wilson(longer, unequal) if unequal else (None, None)
    return LengthBias(
        pairs=pairs,
        unit="tokens" if has_ids else "words",
        chosen_mean=sum(chosen) / pairs if pairs else None,
        rejected_mean=sum(rejected) / pairs if pairs else None,
        equal=pairs - unequal,
        longer=longer / unequal if unequal else None,
        low=low,
        high=high,
    )


def _mark(rows: pl.DataFrame, reason: str, drop: pl.Expr | list[bool]) -> pl.DataFrame:
    """Give `reason` to the rows that have none yet and are to be dropped."""
    flag = drop if isinstance(drop, pl.Expr) else pl.Series(drop, dtype=pl.Boolean)
    return rows.with_columns(flag.alias("drop")).with_columns(
        reason=pl.when(pl.col("reason").is_null() & pl.col("drop")).then(pl.lit(reason)).otherwise("reason")
    )


def _texts(rows: pl.DataFrame, side: str) -> list[str]:
    return [str(turns[0]["content"]) for turns in rows[side].to_list()]
