"""Process scores by continuing: V(h_t) is the share of k fresh continuations of the prefix h_t that succeed.

score_t = V(h_t) - V(h_{t-1}); the end of a failure is worth its recorded outcome. The continuations before turn t are
at the same time k alternatives to it, so what localizes also repairs, and no token is spent twice.

Status: source (Math-Shepherd, arXiv 2312.08935; AgentPRM); the rule for the first error is ours (`change_point`).
Degenerate: a run may recover from a wrong step, so a value after an error need not be 0.
Cost: k continuations a turn, on average about half a rollout each; all of a shard's failures advance together.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.failures.log import Log, branch
from pipeline.sampling import Rollout

NAME = "monte_carlo"


def rollouts(log: Log, k: int, seed: int) -> list[Rollout]:
    """`k` continuations from before every turn, turn by turn."""
    return [branch(log, turn, NAME, number, seed) for turn in log.turns for number in range(k)]


def counts(log: Log, k: int, verdicts: Sequence[bool]) -> list[int]:
    """Successes of the prefixes h_0, ..., h_T, of k each; `verdicts` as `rollouts` asked. h_T is the failure itself."""
    won = [sum(verdicts[start : start + k]) for start in range(0, len(log.turns) * k, k)]
    return [*won, round(k * float(log.trajectory["outcome"] or 0.0))]
