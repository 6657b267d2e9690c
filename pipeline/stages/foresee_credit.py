"""What annotating would cost, which games there will be, and why there are no others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from apportion.pipeline.core.reasons import summed
from apportion.pipeline.games.game import Game
from apportion.pipeline.games.tables import Planned
from apportion.pipeline.runs.run import Run
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.values._desk import Desk
from apportion.pipeline.values._shard import ask_all
from apportion.pipeline.values.base import ValueFunction

if TYPE_CHECKING:
    from apportion.pipeline.stages.credit import Credit


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


def foresee(stage: Credit, tokenizer: Any) -> Foreseen:
    """Plan all games of the pending shards. `tokenizer` is used by the values that are read off prompts."""
    seen = Foreseen(Counter(dict.fromkeys(("games", "coalitions", "samples", "prompt_tokens", "distinct_tokens"), 0)))
    config = stage.run.config
    for shard in stage.pending:
        _leave_out(seen, stage.run, shard.source, stage.limited_by)
        found = stage.games_of(shard)
        seen.reasons += [aside.reason for aside in found.aside]
        desk = Desk(config, found.logs, dry_tokenizer=tokenizer)
        games = _asked(seen, shard.value, found.planned, desk)
        # The answer is looked for in what the answering agent saw; games of branches have one player by their nature.
        logs = {game.trajectory_id: found.logs[game.trajectory_id] for game in games if game.view}
        seen.unanswered += sum(not _answered(log) for log in logs.values())
        seen.alone += sum(len(game.players) == 1 for game in games if game.branch is None)
        if config.annotate.players == "messages" and "message" not in shard.value.kinds:
            seen.reasons.append(f"games of messages are not played under annotate.value = {shard.rules.value}")
    return seen


def told_of(stage: Credit, seen: Foreseen) -> list[str]:
    """What a dry run of crediting says."""
    head = (
        f"run {stage.run.id}: {len(stage.pending)} of {len(stage.shards)} shards to do, {seen.total['games']:,} games, "
        f"{seen.total['coalitions']:,} coalitions, {effort(seen.total)}"
    )
    return [head, *notes(seen, stage.run.config.model.max_model_len)]


def _asked(seen: Foreseen, value: ValueFunction, planned: Sequence[Planned], desk: Desk) -> list[Game]:
    """The games that can be asked for; counts them, what they cost and what was cut."""
    games: list[Game] = []
    for _, asked, refused in ask_all(value, planned, desk):
        seen.reasons += [one.reason for one in refused]
        seen.cut += [one.cut_share for one in asked if one.cut_share > 0]
        games += [one.game for one in asked]
        seen.total.update({"games": len(asked), "coalitions": sum(len(one.masks) for one in asked)})
        seen.total.update(value.cost(asked))
    return games


def _leave_out(seen: Foreseen, run: Run, source: str, limited_by: str) -> None:
    """Count the trajectories of a shard that are not asked for, by what leaves them out."""
    section = run.config.annotate
    verdicts = run.read("trajectories", source, ["success"])["success"].to_pylist()
    if section.on == "successes":
        seen.unasked["failed (annotate.on = successes)"] += verdicts.count(False)
        seen.unasked["without a verdict (annotate.on = successes)"] += verdicts.count(None)
        verdicts = [one for one in verdicts if one]
    if section.limit is not None:
        limit = limited_by or f"annotate.limit = {section.limit}"
        seen.unasked[f"beyond {limit}"] += max(0, len(verdicts) - section.limit)


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
        lines.append(f"caution: {seen.alone:,} games have a single player, who gets all of the credit")
    if seen.unanswered:
        lines.append(
            f"caution: in {seen.unanswered:,} trajectories no message is the answer; it is read after the last"
        )
    return lines


def _share(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def effort(total: Mapping[str, int]) -> str:
    """What the coalitions of a plan cost, in words."""
    if total["prompt_tokens"]:
        return f"{total['prompt_tokens']:,} prompt tokens, of which {total['distinct_tokens']:,} must be computed"
    return f"at most {total['samples']:,} samples" if total["games"] else "nothing to compute"
