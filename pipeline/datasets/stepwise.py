"""Stepwise supervision: which messages of a failed rollout were sound, and which was the first that was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from apportion.pipeline.trajectory.render import spoken

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Stepwise:
    """Rows without their question and split yet, and what became of the localizations."""

    rows: list[dict[str, Any]]
    counts: dict[str, int]


def stepwise(
    localizations: pl.DataFrame,
    messages: pl.DataFrame,
    trajectories: pl.DataFrame,
    steps: pl.DataFrame,
    *,
    successes: bool = False,
) -> Stepwise:
    """One row per failed rollout, localizer and target with a first error; nothing after that error is in it.

    Labels are true before the error and false at it. A completion is what its agent said, headed by what tools and
    notices said since the agents' message before it, so that a judge of the prefix has read what the author had
    read; the result of the wrong step itself is cut off with the rest. Scores come from `steps` where `prm` has the
    localizer's name. Successes are left out unless `successes` asks for them, as rows with every label true and
    localizer "outcome": a run can succeed in spite of a wrong step.
    Counts: "labelled", "unlocalized", "succeeded" (the rollout did), "not_a_message" (the error is no agent's
    message), "successes". Status: ours, on the definition of ProcessBench (earliest wrong step). Cost: linear.
    """
    known = trajectories.unique("trajectory_id").select("trajectory_id", "task_id", "origin", "success")
    key = ["trajectory_id", "localizer", "target"]  # of several runs with the same rollouts always the same one
    joined = localizations.sort(*key, "first_error", "confidence").unique(key, keep="first", maintain_order=True)
    joined = joined.join(known, on="trajectory_id")
    wanted = [joined["trajectory_id"]]
    solved = known.filter(pl.lit(successes) & pl.col("success") & (pl.col("origin") == "sampled"))
    logs = _logs(messages, pl.concat([*wanted, solved["trajectory_id"]]))
    scored = {
        (row["trajectory_id"], row["prm"], row["message_index"]): row["score"]
        for row in steps.select("trajectory_id", "prm", "message_index", "score").iter_rows(named=True)
    }
    counts: Counter[str] = Counter()
    rows = []
    for found in joined.iter_rows(named=True):
        turns = _turns(logs.get(found["trajectory_id"], ()))
        error = found["first_error"]
        fate = _fate(found, turns)
        counts[fate] += 1
        if fate == "labelled":
            cut = [turn for turn in turns if turn[0] <= error]
            name = found["localizer"]
            scores = [scored.get((found["trajectory_id"], name, index)) for index, _, _ in cut]
            about = {key: found[key] for key in ("task_id", "trajectory_id", "localizer", "target", "confidence")}
            rows.append(about | _row(cut, error) | {"scores": scores})
    for won in solved.iter_rows(named=True):
        turns = _turns(logs.get(won["trajectory_id"], ()))
        if turns:
            counts["successes"] += 1
            about = {"task_id": won["task_id"], "trajectory_id": won["trajectory_id"]}
            said = {"localizer": "outcome", "target": "success", "confidence": None, "scores": [None] * len(turns)}
            rows.append(about | said | _row(turns, None))
    return Stepwise(rows, dict(sorted(counts.items())))


def _fate(found: Mapping[str, Any], turns: Sequence[tuple[int, str, str]]) -> str:
    if found["success"]:
        return "succeeded"
    if found["first_error"] is None:
        return "unlocalized"
    return "labelled" if any(index == found["first_error"] for index, _, _ in turns) else "not_a_message"


def _row(turns: Sequence[tuple[int, str, str]], error: int | None) -> dict[str, Any]:
    return {
        "completions": [text for _, _, text in turns],
        "labels": [index != error for index, _, _ in turns],
        "agents": [agent for _, agent, _ in turns],
        "message_indices": [index for index, _, _ in turns],
    }


def _turns(messages: Iterable[Message]) -> list[tuple[int, str, str]]:
    """(message index, agent, text) of each message of an agent, headed by the results and notices before it."""
    turns, heard = [], list[str]()
    for row in messages:
        said = spoken(row["role"], row["kind"], row["agent"], row["text"])
        if row["role"] == "assistant" and row["kind"] == "message":
            turns.append((int(row["message_index"]), str(row["agent"]), "\n".join([*heard, said])))
            heard = []
        elif row["kind"] in ("tool_result", "notice"):
            heard.append(said)
    return turns


def _logs(messages: pl.DataFrame, wanted: pl.Series) -> dict[str, list[Message]]:
    rows = (
        messages.filter(pl.col("trajectory_id").is_in(wanted.unique().implode()))
        .select("trajectory_id", "message_index", "agent", "role", "kind", "text")
        .unique(["trajectory_id", "message_index"])
        .sort("trajectory_id", "message_index")
    )
    logs: dict[str, list[Message]] = {}
    for row in rows.iter_rows(named=True):
        logs.setdefault(row["trajectory_id"], []).append(row)
    return logs
