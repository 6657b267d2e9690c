"""Preference pairs from confirmed repairs: the recorded message rejected, an alternative that does better chosen."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import polars as pl
import pyarrow as pa

from apportion.pipeline.core.errors import WorkError
from apportion.pipeline.core.frames import frame
from apportion.pipeline.core.ids import digest
from apportion.pipeline.trajectory.context import context_of
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.trajectory.render import Chat, chat
from apportion.schemas import TABLES
from apportion.schemas.failures import PREFERENCES

SIBLING = "sibling"
"""Proposal of what a winning rollout of the same group wrote."""

CONTROL = "random"
"""Proposal of the arm that a localizer is compared with: its alternatives prove something, and train nothing."""

PAIRED = "paired"
MOST_PER_STEP = 2
"""Pairs of one step."""
_COUNTS = ("confirmation_k", "confirmation_successes", "baseline_k", "baseline_successes")
_STEP = ("trajectory_id", "step")


def pairs(
    repairs: pl.DataFrame,
    messages: pl.DataFrame,
    trajectories: pl.DataFrame,
    tasks: pl.DataFrame,
) -> pl.DataFrame:
    """The pairs that the confirmed alternatives of `repairs` make, as rows of `preferences`; `split` is null.

    A pair is made where `fates` says "paired": selected, confirmed on fresh continuations, and there better than the
    recorded message.
    chosen_k and chosen_successes are the **confirming** sample, since the selecting one is biased upward (winner's
    curse); rejected_k and rejected_successes the fresh continuations of the recorded message.
        margin = chosen_successes / chosen_k - rejected_successes / rejected_k
        weight = P(p_chosen > p_rejected) - P(p_chosen < p_rejected),  p ~ Beta(1 + successes, 1 + failures) each
    The weight is the preference that the evidence supports: near 0 for a pair that is as good as a coin toss, 0.56
    for 1 of 4 against 0 of 4, 0.99 for 4 of 4 against 0 of 4. Status: ours; the pair itself: methods, section 4.
    Only pairs with a gain are kept, so margins over a data set still read a little high.

    `kind` is "contrast" for the message of a winning sibling, else "first_error" (no `late_repair` is made here).
    One text counts once a step, by the row with the largest confirming sample; of several texts at a step the
    `MOST_PER_STEP` with the best **selecting** sample are taken, so that confirmations are not picked over again.
    Pairs with the same prompt, sides and kind are one pair, that of the largest samples.

    `messages` needs trajectory_id, message_index, agent, role, kind, text, context, examples and policy_id, for the
    failed trajectories; `trajectories` trajectory_id and task_id; `tasks` task_id. Degenerate: no repairs give no
    rows. Cost: one pass over `repairs`, one rendered prompt a pair. Raises
    WorkError for a repair without its message, trajectory or task.
    """
    known = trajectories.select("trajectory_id", "task_id").unique("trajectory_id")
    best = _fates(repairs).filter(fate=PAIRED)
    best = best.join(known, on="trajectory_id", how="left", maintain_order="left")
    _check(best.join(tasks, on="task_id", how="anti"), "task")
    logs = _logs(messages, best)
    _check(best.filter([row not in logs for row in best.select(_STEP).iter_rows()]), "message")
    rows = [_pair(row, *logs[row["trajectory_id"], row["step"]]) for row in best.iter_rows(named=True)]
    made = PREFERENCES.from_rows([row for row in rows if _said(row["chosen"]) != _said(row["rejected"])])
    rank = pl.int_range(pl.len()).over("rejected_trajectory_id", "rejected_message_index")  # best selected first
    return (
        pl.DataFrame(made)
        .filter(rank < MOST_PER_STEP)
        .sort(pl.col("chosen_k") + pl.col("rejected_k"), descending=True, maintain_order=True)
        .unique("pair_id", keep="first", maintain_order=True)
        .sort(PREFERENCES.sort_by)
    )


def pairs_of_shard(repairs: Sequence[Mapping[str, Any]], logs: Sequence[Log], tasks: pa.Table, shard: str) -> pa.Table:
    """The rows of `preferences` of a shard: every pair that its confirmed repairs make. Who uses them cleans and
    splits them."""
    if not repairs:
        return PREFERENCES.from_rows([])
    messages = TABLES["messages"].from_rows([dict(row) for log in logs for row in log.messages])
    trajectories = pl.DataFrame([{"trajectory_id": log.trajectory_id, "task_id": log.task.task_id} for log in logs])
    rows = TABLES["repairs"].from_rows([dict(row) for row in repairs])
    made = pairs(frame(rows), frame(messages), trajectories, frame(tasks))
    names = [f"x{digest([pair, shard])}" for pair in made["pair_id"]]  # the same pair may come from elsewhere too
    return made.with_columns(pair_id=pl.Series(names, dtype=pl.String)).to_arrow()


def fates(repairs: pl.DataFrame) -> dict[str, int]:
    """How many rows of `repairs` came to what, for the data card; every row counts once, the first that applies.

    "control": the random arm; "not_confirmed": not selected, so never continued afresh; "no_baseline": the recorded
    message was not continued; "repeated": another row has the text at that step, and a confirming sample as large;
    "no_gain": not better than the recorded message; "unlikely": better, but on a sample so much smaller that it is
    more probably worse; "paired": fit for a pair (of those, `pairs` takes the `MOST_PER_STEP` best selected).
    """
    counted = dict(_fates(repairs)["fate"].value_counts().iter_rows())
    return {name: int(counted.get(name, 0)) for name in FATES}


FATES = ("control", "not_confirmed", "no_baseline", "repeated", "no_gain", "unlikely", PAIRED)


def weight(chosen_k: int, chosen_successes: int, rejected_k: int, rejected_successes: int) -> float:
    """P(p_chosen > p_rejected) - P(p_chosen < p_rejected) in [-1, 1] under uniform priors: see `probability`."""
    return 2 * probability(chosen_k, chosen_successes, rejected_k, rejected_successes) - 1


@cache
def probability(k: int, successes: int, other_k: int, other_successes: int) -> float:
    """P(p > q) for independent p ~ Beta(1 + s, 1 + k - s) and q alike from the other sample, exactly.

    p is the (s+1)-th smallest of k + 1 uniform draws, q the (s'+1)-th smallest of k' + 1. In the merged order p
    lies above q exactly when at most s of p's draws are among the s + s' + 1 smallest:
        P = sum_{h <= s} C(k+1, h) C(k'+1, s+s'+1-h) / C(k+k'+2, s+s'+1)
    Status: textbook (order statistics of uniforms). No samples at all give 1/2. Cost: s + 1 products of integers.
    """
    drawn = successes + other_successes + 1
    ways = sum(math.comb(k + 1, h) * math.comb(other_k + 1, drawn - h) for h in range(successes + 1))
    return ways / math.comb(k + other_k + 2, drawn)


def _fates(repairs: pl.DataFrame) -> pl.DataFrame:
    """`repairs` with `fate`, `margin` and `weight`, sorted so that within a step the better selected stand first."""
    k, successes, base_k, base = map(pl.col, _COUNTS)
    fate = (
        pl.when(proposal=CONTROL)
        .then(pl.lit("control"))
        .when(~(k >= 1).fill_null(False))
        .then(pl.lit("not_confirmed"))
        .when(~(base_k >= 1).fill_null(False))
        .then(pl.lit("no_baseline"))
        .otherwise(pl.lit(None, dtype=pl.String))
    )
    said = pl.col("text").str.strip_chars()
    rows = (
        repairs.with_columns(fate=fate, margin=successes / k - base / base_k)
        .sort(
            *_STEP, k, (pl.col("proposal") == SIBLING), "proposal", "alternative_index",
            descending=[False, False, True, False, False, False], nulls_last=True,
        )
        .with_columns(first=pl.int_range(pl.len()).over(*_STEP, said, pl.col("fate")) == 0)
    )  # fmt: skip
    weights = [
        None if fate is not None else weight(*counts) for fate, *counts in rows.select("fate", *_COUNTS).iter_rows()
    ]
    left = pl.col("fate").is_null()
    return (
        rows.with_columns(weight=pl.Series(weights, dtype=pl.Float64))
        .with_columns(
            fate=pl.when(~left)
            .then("fate")
            .when(~pl.col("first"))
            .then(pl.lit("repeated"))
            .when(~(pl.col("margin") > 0))
            .then(pl.lit("no_gain"))
            .when(pl.col("weight") <= 0)
            .then(pl.lit("unlikely"))
            .otherwise(pl.lit(PAIRED))
        )
        .sort(
            *_STEP, pl.col("selection_successes") / pl.col("selection_k"), pl.col("proposal") == SIBLING,
            "proposal", "alternative_index",
            descending=[False, False, True, False, False, False], nulls_last=True,
        )
    )  # fmt: skip


Step = tuple[str, int]
Message = Mapping[str, Any]


def _logs(messages: pl.DataFrame, best: pl.DataFrame) -> dict[Step, tuple[Message, Chat]]:
    """The recorded message of each step in question and the chat that its author had before it."""
    wanted = messages.join(best.select("trajectory_id").unique(), on="trajectory_id", how="semi")
    names = ["trajectory_id", "message_index", "agent", "role", "kind", "text", "context", "examples", "policy_id"]
    by_step = {(row["trajectory_id"], row["message_index"]): row for row in wanted.select(names).iter_rows(named=True)}
    rows_of: dict[str, list[Message]] = {}
    for row in by_step.values():
        rows_of.setdefault(row["trajectory_id"], []).append(row)
    found: dict[Step, tuple[Message, Chat]] = {}
    for step in best.select(_STEP).unique().iter_rows():
        if step in by_step and by_step[step]["role"] == "assistant":
            seen = [by_step.get((step[0], index)) for index in context_of(by_step[step], rows_of[step[0]])]
            if None not in seen:
                found[step] = by_step[step], _prompt(by_step[step], [row for row in seen if row])
    return found


def _prompt(message: Message, seen: list[Message]) -> Chat:
    """The chat as it was when the message was sampled: its author's instructions and examples, then its view."""
    reader = str(message["agent"])
    system = next((row for row in seen if row["kind"] == "system" and row["agent"] == reader), None)
    shown = [
        (str(row["role"]), str(row["kind"]), str(row["agent"]), str(row["text"] or ""))
        for row in seen
        if row["kind"] != "system"
    ]
    examples = json.loads(system["examples"]) if system and system["examples"] else ()
    return chat(reader, str(system["text"] or "") if system else "", examples, shown)


def _pair(repair: Mapping[str, Any], recorded: Message, prompt: Chat) -> dict[str, Any]:
    """One row of `preferences`."""
    kind = "contrast" if repair["proposal"] == SIBLING else "first_error"
    better, worse = str(repair["text"]), str(recorded["text"] or "")
    source = repair["source_trajectory_id"]
    return {
        "pair_id": "x" + digest([kind, repair["prompt_ids"] or prompt, better, worse]),
        "kind": kind,
        "task_id": repair["task_id"],
        "agent": recorded["agent"],
        "policy_id": recorded["policy_id"],
        "prompt": prompt,
        "chosen": [{"role": "assistant", "content": better}],
        "rejected": [{"role": "assistant", "content": worse}],
        "prompt_ids": repair["prompt_ids"],
        "chosen_ids": repair["completion_ids"],
        "rejected_ids": repair["recorded_ids"],
        "chosen_trajectory_id": source,
        "chosen_message_index": None if source is None else repair["step"],
        "rejected_trajectory_id": repair["trajectory_id"],
        "rejected_message_index": repair["step"],
        "chosen_k": repair["confirmation_k"],
        "chosen_successes": repair["confirmation_successes"],
        "rejected_k": repair["baseline_k"],
        "rejected_successes": repair["baseline_successes"],
        "margin": repair["margin"],
        "weight": repair["weight"],
    }


def _said(side: Chat) -> str:
    return side[0]["content"].strip()


def _check(orphans: pl.DataFrame, what: str) -> None:
    if len(orphans):
        first = orphans.row(0, named=True)
        raise WorkError(
            f"repairs: trajectory {first['trajectory_id']} step {first['step']}: its {what} or what it saw is not "
            "there: run the sampling and the failure branch again"
        )
