"""What annotating would cost, which games there will be, and why there are no others."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apportion.pipeline.games.game import Game
from apportion.pipeline.play.continuation import logs_of
from apportion.pipeline.play.play import first_prompts
from apportion.pipeline.repair.alternatives import SIBLING
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.blame import FailurePlan, failures_of, wanted_of
from apportion.pipeline.stages.credit import AnnotatePlan, Shard, ask_all, games_of
from apportion.pipeline.stages.sample import SamplePlan
from apportion.pipeline.trajectory.case import case_of
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.values import likelihood, recount, regenerate, replay

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_PLACE = re.compile(r"^trajectory \S+: ")


@dataclass
class Foreseen:
    """Totals of the pending shards, and what they leave out or cut."""

    total: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)
    """Of every game that cannot be played."""
    cut: list[float] = field(default_factory=list)
    """Of every game whose text does not fit in the context window: the share of the view left out."""
    unasked: Counter[str] = field(default_factory=Counter)
    """Trajectories that the configuration does not ask for, by the key that leaves them out."""
    alone: int = 0
    """Games with a single player."""
    unanswered: int = 0
    """Played trajectories in which no message is marked as the answer."""


def foresee(plan: AnnotatePlan, tokenizer: Any) -> Foreseen:
    """Plan all games of the pending shards. `tokenizer` is used by the values that are read off prompts."""
    seen = Foreseen(Counter(dict.fromkeys(("games", "coalitions", "samples", "prompt_tokens", "distinct_tokens"), 0)))
    for shard in plan.pending:
        _leave_out(seen, plan, shard)
        found = games_of(plan, shard)
        seen.reasons += [str(reject["reason"]) for reject in found.rejects]
        if shard.rules.value in (likelihood.NAME, regenerate.NAME):
            games = _asked(seen, plan, shard, found.planned, tokenizer)
            logs = {game.trajectory_id: found.logs[game.trajectory_id] for game in games}
            seen.unanswered += sum(not _answered(log) for log in logs.values())
        else:
            games = [one.game for one in found.planned]
            _count(seen, len(games), sum(len(one.masks) for one in found.planned), shard)
        if shard.rules.value != replay.NAME:
            seen.alone += sum(len(game.players) == 1 for game in games)
        if plan.config.annotate.players == "messages" and shard.rules.value in (replay.NAME, recount.NAME):
            seen.reasons.append(f"games of messages are not played under annotate.value = {shard.rules.value}")
    return seen


def _asked(seen: Foreseen, plan: AnnotatePlan, shard: Shard, planned: Any, tokenizer: Any) -> list[Game]:
    """The games whose prompts can be written; counts them, their tokens and what was cut."""
    games: list[Game] = []
    for fits, asked, refused in ask_all(plan, shard, planned, tokenizer):
        seen.reasons += [str(reject["reason"]) for reject in refused]
        seen.cut += [one.cut_share for one in asked if one.cut_share > 0]
        games += [one.game for one in fits]
        _count(seen, len(fits), sum(len(one.masks) for one in fits), shard)
        if shard.rules.value == likelihood.NAME:
            every, distinct = likelihood.tokens(asked)
            seen.total["prompt_tokens"] += every
            seen.total["distinct_tokens"] += distinct
    return games


def _count(seen: Foreseen, games: int, coalitions: int, shard: Shard) -> None:
    seen.total["games"] += games
    seen.total["coalitions"] += coalitions
    if shard.rules.value != likelihood.NAME:
        seen.total["samples"] += coalitions * (shard.rules.k or 0)


def _leave_out(seen: Foreseen, plan: AnnotatePlan, shard: Shard) -> None:
    """Count the trajectories of a shard that are not asked for, by what leaves them out."""
    section = plan.config.annotate
    table = Store(plan.config.store_root).read("trajectories", plan.run, shard.source, columns=["success"])
    verdicts = table["success"].to_pylist()
    if section.on == "successes":
        seen.unasked["failed (annotate.on = successes)"] += verdicts.count(False)
        seen.unasked["without a verdict (annotate.on = successes)"] += verdicts.count(None)
        verdicts = [one for one in verdicts if one]
    if section.limit is not None:
        seen.unasked[f"beyond annotate.limit = {section.limit}"] += max(0, len(verdicts) - section.limit)


def _answered(log: Log) -> bool:
    return any(row["is_outcome"] for row in log.messages)


def notes(seen: Foreseen, window: int) -> list[str]:
    """What to know of the games, a line each."""
    lines = [f"no game: {count} x {reason}" for reason, count in summed(seen.reasons)]
    lines += [f"not asked for: {count} x {why}" for why, count in seen.unasked.items() if count]
    if seen.cut:
        lines.append(
            f"cut: {len(seen.cut):,} of {seen.total['games']:,} games do not fit in model.max_model_len = {window}: "
            f"{_share(sum(seen.cut) / len(seen.cut))} of their text is left out on average, {_share(max(seen.cut))} "
            "at most"
        )
    if seen.alone:
        lines.append(f"mind: {seen.alone:,} games have a single player, who gets all of the credit")
    if seen.unanswered:
        lines.append(f"mind: in {seen.unanswered:,} trajectories no message is the answer; it is read after the last")
    return lines


def full_from_the_start(plan: SamplePlan, tokenizer: Any) -> list[str]:
    """Of the pending rollouts, a line on the tasks whose first prompt leaves no room in the context window."""
    window, lines = plan.config.model.max_model_len, []
    for team, origin in ((plan.team, "sampled"), (plan.solo, "solo")):
        asked = [one for shard in plan.pending for one in shard.rollouts if one.origin == origin]
        tasks = {one.task.task_id: one.task for one in asked}
        sizes = [max(first_prompts(team, task, tokenizer), default=0) for task in tasks.values()]
        full = [size for size in sizes if size >= window]
        if full:
            lines.append(
                f"cut: in {len(full):,} of {len(sizes):,} tasks the first prompt of {team.name} ({min(full):,} to "
                f"{max(full):,} tokens) leaves no room in model.max_model_len = {window}: they break off at once"
            )
    return lines


def failure_notes(plan: FailurePlan, tokenizer: Any) -> list[str]:
    """Why trajectories of the pending shards are not looked at as failures, a line each."""
    reasons: list[str] = []
    sources = {shard.source for shard in plan.pending}
    for source in sorted(sources):
        for log in logs_of(Store(plan.config.store_root), plan.run, source):
            if log.trajectory["success"] is None:
                reasons.append("without a verdict: not known to have failed")
            elif not log.trajectory["success"] and not log.turns:
                reasons.append("no agent spoke")
    limit = plan.config.failures.limit
    for source in sorted(sources):
        beyond = 0 if limit is None else len(failures_of(plan, source).logs) - limit
        reasons += [f"beyond failures.limit = {limit}"] * beyond
    for shard in plan.pending:
        if shard.kind != SIBLING and plan.loads(shard):
            method, means = plan.method(shard), plan.configured.means()
            cases = [case_of(log) for log in wanted_of(plan, shard, failures_of(plan, shard.source))]
            reasons += [why for case in cases if (why := method.obstacle(case, tokenizer, means)) is not None]
    return [f"not looked at: {count} x {reason}" for reason, count in summed(reasons)]


def summed(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """Reasons with their counts, the most frequent first; those that differ in numbers only are one, with the range."""
    numbers: dict[str, list[list[str]]] = defaultdict(list)
    for reason in reasons:
        told = _PLACE.sub("", reason)
        numbers[_NUMBER.sub("{}", told.replace("{", "(").replace("}", ")"))].append(_NUMBER.findall(told))
    made = [(_ranged(text, found), len(found)) for text, found in numbers.items()]
    return sorted(made, key=lambda one: (-one[1], one[0]))


def _ranged(text: str, found: Sequence[Sequence[str]]) -> str:
    """`text` with the numbers of its reasons at their places, as `a` or `a to b`."""
    ranges = []
    for column in zip(*found, strict=True):
        low, high = min(column, key=float), max(column, key=float)
        ranges.append(low if low == high else f"{low} to {high}")
    return text.format(*ranges)


def _share(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def effort(total: Mapping[str, int]) -> str:
    """What the coalitions of a plan cost, in words."""
    if total["prompt_tokens"]:
        return f"{total['prompt_tokens']:,} prompt tokens, of which {total['distinct_tokens']:,} must be computed"
    return f"at most {total['samples']:,} samples" if total["games"] else "nothing to compute"
