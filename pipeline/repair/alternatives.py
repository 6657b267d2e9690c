"""Repairs: alternatives to a recorded message, chosen on one sample and confirmed on another.

An alternative is selected because a continuation of it succeeded, which biases its success share upward (the winner's
curse). What is stored as its worth comes from fresh continuations alone, and the recorded message gets as many.
Status: source (doubly sampled repairs); the number of winners that are confirmed is ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from apportion.pipeline.datasets.pairs import SIBLING
from apportion.pipeline.localizers.base import Continue
from apportion.pipeline.play.branch import branch
from apportion.pipeline.play.play import Played, Rollout
from apportion.pipeline.repair.located import Located
from apportion.pipeline.trajectory.log import Log

MOST_WINNERS = 2
"""Winning alternatives of one step that are confirmed."""


@dataclass(frozen=True)
class Alternative:
    """Another message for a step of a log, with the counts of its selecting, confirming and baseline samples."""

    log: Log
    step: int
    proposal: str
    number: int
    policy_id: str | None
    """What wrote it."""
    text: str
    prompt_ids: tuple[int, ...] | None
    completion_ids: tuple[int, ...] | None
    source: str
    """The rollout in which it stands."""
    selection_k: int
    selection_successes: int
    confirmed: tuple[int, int] | None = None
    """(k, successes) of fresh continuations; None where it was not selected."""
    baseline: tuple[int, int] | None = None

    def row(self) -> dict[str, Any]:
        """The row of `repairs`."""
        recorded = self.log.messages[self.step]
        return {
            "trajectory_id": self.log.trajectory_id,
            "step": self.step,
            "proposal": self.proposal,
            "alternative_index": self.number,
            "agent": recorded["agent"],
            "policy_id": self.policy_id,
            "text": self.text,
            "prompt_ids": _list(self.prompt_ids),
            "completion_ids": _list(self.completion_ids),
            "selection_k": self.selection_k,
            "selection_successes": self.selection_successes,
            "confirmation_k": self.confirmed[0] if self.confirmed else None,
            "confirmation_successes": self.confirmed[1] if self.confirmed else None,
            "baseline_k": self.baseline[0] if self.baseline else None,
            "baseline_successes": self.baseline[1] if self.baseline else None,
            "source_trajectory_id": self.source,
            "recorded_ids": recorded["completion_ids"],
        }


def alternatives(log: Log, step: int, proposal: str, played: Iterable[tuple[Played, bool | None]]) -> list[Alternative]:
    """The different messages written for `step` in some continuations (each with its verdict), the same text once.

    A continuation that wrote the recorded message again is none, nor is one without a verdict.
    """
    found: dict[str, Alternative] = {}
    for one, success in played:
        if success is None or len(one.talk.messages) <= step:
            continue  # a fault of a tool or verifier, or no room in the context window to write
        message = one.talk.messages[step]
        if message.text == str(log.messages[step]["text"]):
            continue
        first = found.get(message.text) or Alternative(
            log, step, proposal, len(found), one.policies[message.agent], message.text, message.prompt_ids,
            message.completion_ids, one.rollout.trajectory_id, 0, 0,
        )  # fmt: skip
        found[message.text] = replace(
            first,
            selection_k=first.selection_k + 1,
            selection_successes=first.selection_successes + success,
            source=one.rollout.trajectory_id if success and not first.selection_successes else first.source,
        )
    return list(found.values())


def proposed(located: Sequence[Located], play: Continue, proposal: str, number: int, seed: int) -> list[Alternative]:
    """`number` alternatives at every located step, each continued to the end; the localizer's own rewrites count."""
    if not number:
        return []
    asked: list[list[Rollout]] = [
        [branch(one.log, one.step, f"alternative {proposal}", n, seed) for n in range(len(one.rewrites), number)]
        if one.step is not None
        else []
        for one in located
    ]
    judged: Iterator[tuple[Played, bool | None]] = iter(())
    if any(asked):
        judged = iter(play("alternatives", [rollout for some in asked for rollout in some]))
    found: list[Alternative] = []
    for one, some in zip(located, asked, strict=True):
        if one.step is not None:
            found += alternatives(one.log, one.step, proposal, [*one.rewrites, *(next(judged) for _ in some)])
    return found


def settled(found: Sequence[Alternative], play: Continue, kind: str, k: int, seed: int) -> list[Alternative]:
    """`found`, the winners among them with `k` confirmations and baselines each."""
    grouped: dict[str, list[Alternative]] = defaultdict(list)
    for one in found:
        grouped[one.log.trajectory_id].append(one)
    selected = [one for some in grouped.values() for one in winners(some)]
    asked = confirmations(selected, k, seed, kind)
    verdicts = (success for _, success in play(f"confirmations ({kind})", asked)) if asked else iter(())
    done = {(one.log.trajectory_id, one.number): one for one in confirmed(selected, k, verdicts)}
    return [done.get((one.log.trajectory_id, one.number), one) for one in found]


def siblings(failure: Log, others: Sequence[Log]) -> Alternative | None:
    """What a winning rollout of the same group wrote where it parts from the failure, under the very same prompt.

    Of several winners the one that shares the longest prefix is taken: the closest contrast.
    """
    best: Alternative | None = None
    for other in others:
        step = _parting(failure, other)
        if step is None or (best and step <= best.step):
            continue
        theirs = other.messages[step]
        best = Alternative(
            failure, step, SIBLING, 0, theirs["policy_id"], str(theirs["text"]), tuple(theirs["prompt_ids"]),
            tuple(theirs["completion_ids"]), other.trajectory_id, 1, 1,
        )  # fmt: skip
    return best


def confirmations(selected: Sequence[Alternative], k: int, seed: int, kind: str) -> list[Rollout]:
    """Fresh continuations: `k` of every alternative, and `k` of the recorded message of every step in question.

    `kind` keeps their seeds and ids apart from those of other ways to propose alternatives.
    """
    asked = [
        branch(one.log, one.step, f"confirm {kind}", number, seed, text=one.text)
        for one in selected
        for number in range(k)
    ]
    for log, step in _steps(selected):
        asked += [branch(log, step, f"baseline {kind}", number, seed, repeat=True) for number in range(k)]
    return asked


def winners(found: Sequence[Alternative]) -> list[Alternative]:
    """The alternatives worth confirming: those with a success, the most successful first, at most `MOST_WINNERS`."""
    won = [one for one in found if one.selection_successes]
    return sorted(won, key=lambda one: (-one.selection_successes / one.selection_k, one.number))[:MOST_WINNERS]


def confirmed(selected: Sequence[Alternative], k: int, verdicts: Iterator[bool | None]) -> list[Alternative]:
    """`selected` with the counts of their confirmations and baselines; `verdicts` as `confirmations` asked.

    Continuations without a verdict do not count; where none is left there is no confirmation.
    """
    counts = [_counted(verdicts, k) for _ in selected]
    base = {(log.trajectory_id, step): _counted(verdicts, k) for log, step in _steps(selected)}
    return [
        replace(one, confirmed=count, baseline=base[one.log.trajectory_id, one.step])
        for one, count in zip(selected, counts, strict=True)
    ]


def _counted(verdicts: Iterator[bool | None], k: int) -> tuple[int, int] | None:
    """(verdicts, successes) of the next `k`."""
    some = [verdict for verdict in (next(verdicts) for _ in range(k)) if verdict is not None]
    return (len(some), sum(some)) if some else None


def _steps(selected: Sequence[Alternative]) -> list[tuple[Log, int]]:
    """The steps in question, each once."""
    return list({(one.log.trajectory_id, one.step): (one.log, one.step) for one in selected}.values())


def _parting(failure: Log, other: Log) -> int | None:
    """Index of the first message at which two logs differ; None unless the same agent wrote it to the same prompt."""
    for index, (mine, theirs) in enumerate(zip(failure.messages, other.messages, strict=False)):
        same = all(mine[name] == theirs[name] for name in ("agent", "role", "text"))
        if same:
            continue
        asked_alike = mine["agent"] == theirs["agent"] and mine["role"] == theirs["role"] == "assistant"
        answered = mine["completion_ids"] and theirs["completion_ids"]
        return index if asked_alike and answered and mine["prompt_ids"] == theirs["prompt_ids"] else None
    return None


def _list(values: tuple[int, ...] | None) -> list[int] | None:
    return None if values is None else list(values)
