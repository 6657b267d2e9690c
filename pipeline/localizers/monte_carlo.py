"""Process scores by continuing: V(h_t) is the share of k fresh continuations of the prefix h_t that succeed.

score_t = V(h_t) - V(h_{t-1}); the end of a failure is worth 0. The continuations before turn t are
at the same time k alternatives to it, so what localizes also repairs, and no token is spent twice.

Status: source (Math-Shepherd, arXiv 2312.08935; AgentPRM); the rule for the first error is ours (`change_point`).
Degenerate: a run may recover from a wrong step, so a value after an error need not be 0. A continuation that a fault
of a tool or verifier broke off has no verdict and does not count.
Cost: k continuations a turn, on average about half a rollout each; all of a shard's failures advance together.
"""

from __future__ import annotations

from collections.abc import Sequence

from apportion.pipeline.play.branch import branch
from apportion.pipeline.play.play import Rollout
from apportion.pipeline.trajectory.log import Log

NAME = "monte_carlo"


def rollouts(log: Log, k: int, seed: int) -> list[Rollout]:
    """`k` continuations from before every turn, turn by turn."""
    return [branch(log, turn, NAME, number, seed) for turn in log.turns for number in range(k)]


def counts(log: Log, k: int, verdicts: Sequence[bool | None]) -> tuple[list[int], list[int]]:
    """Successes and verdicts of the prefixes h_0, ..., h_{T-1}; `verdicts` as `rollouts` asked, None without one."""
    parts = [verdicts[start : start + k] for start in range(0, len(log.turns) * k, k)]
    return [sum(v is True for v in part) for part in parts], [sum(v is not None for v in part) for part in parts]
