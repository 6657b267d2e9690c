"""Process scores by continuing: how often does the run still succeed from each of its steps?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.localizers._first_error import at_first_error, change_point
from apportion.pipeline.localizers.base import Localizer, Means, Needs, Verdict
from apportion.pipeline.play.branch import branch
from apportion.pipeline.play.play import Rollout
from apportion.pipeline.trajectory.case import Case
from apportion.pipeline.trajectory.log import Log

NAME = "monte_carlo"


class MonteCarlo(Localizer):
    """V(h_t) is the share of k fresh continuations of the prefix h_t that succeed; score_t = V(h_t) - V(h_{t-1}).

    The end of a failure is worth 0. The first error is the change point of the counts (`change_point`). Continuations
    before turn t are at the same time k alternatives to it, so what localizes also repairs, and no token is spent
    twice.

    Status: source (Math-Shepherd, arXiv 2312.08935; AgentPRM); the rule for the first error is ours.
    Degenerate: a run may recover from a wrong step, so a value after an error need not be 0. A continuation that a
    fault of a tool or verifier broke off has no verdict and does not count. A log that cannot be continued is refused.
    Cost: k continuations per turn, on average about half a rollout each; all cases advance together.
    """

    needs: ClassVar[Needs] = Needs.CONTINUATIONS
    rollouts: int = Field(4, ge=1, le=1_000_000)
    """Fresh continuations from every prefix."""
    margin: float = Field(0.05, ge=0, lt=1)
    """The value before an error must lie above this with its 95 % interval."""

    def judge(self, cases: Sequence[Case], means: Means) -> list[Verdict]:
        """One verdict per case; all continuations are played together."""
        if means.play is None:
            raise UserError(
                f"{NAME} continues recorded runs from every step, and logs in a file cannot be continued: name it for "
                "a run that was sampled here (apportion annotate)"
            )
        asked = [self._rollouts(case.log, means.seed) if case.log else [] for case in cases]
        played = iter(means.play("continuations of failures", [rollout for some in asked for rollout in some]))
        verdicts = []
        for case, some in zip(cases, asked, strict=True):
            mine = [next(played) for _ in some]
            parts = [mine[start : start + self.rollouts] for start in range(0, len(mine), self.rollouts)]
            won = [sum(success is True for _, success in part) for part in parts]
            of = [sum(success is not None for _, success in part) for part in parts]
            error = change_point(won, of, self.margin)
            shares = [count / verdicts_of if verdicts_of else None for count, verdicts_of in zip(won, of, strict=True)]
            rewrites = parts[error.turn] if error else []
            verdicts.append(at_first_error(case, error, [*shares, 0.0], rewrites=rewrites))
        return verdicts

    def continuations(self, case: Case) -> int:
        """`rollouts` from before every turn."""
        return self.rollouts * len(case.log.turns) if case.log else 0

    def _rollouts(self, log: Log, seed: int) -> list[Rollout]:
        return [branch(log, turn, NAME, number, seed) for turn in log.turns for number in range(self.rollouts)]
