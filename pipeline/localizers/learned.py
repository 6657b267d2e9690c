"""The learned localizer: a ranker over steps on signals of the text, with weights that come with the package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar, Self

from pydantic import PrivateAttr

from apportion.pipeline.core.ids import digest
from apportion.pipeline.localizers.base import Localizer, Means, Verdict, fitted
from apportion.pipeline.localizers.ranking.step_ranker import StepRanker
from apportion.pipeline.localizers.signals import TEXT
from apportion.pipeline.localizers.signals.base import TextFeatures
from apportion.pipeline.trajectory.case import Case

NAME = "learned"
WEIGHTS = Path(__file__).parent / "weights" / "text.json"


class Learned(Localizer):
    """log p(step | log) of conditional logits over the signals' columns, averaged over parts of the columns; an agent
    is as suspect as its likeliest step.

    Annotators hardly ever blame another agent than the speaker of the decisive step, and a ranker of its own over
    agents found no more (docs/evaluate.md). A question that the weights were trained on is judged by weights that were
    fitted without it. How far a log is from those that the weights come from stands in the verdict. People, tools and
    environments are never named.

    Status: ours. Degenerate: a log of one step or agent has only one answer; a log without steps gets an empty verdict.
    Cost: the signals', linear in the text; the ranker itself takes milliseconds per log.
    """

    learns: ClassVar[bool] = True
    _ranker: StepRanker | None = PrivateAttr(default=None)

    @property
    def ranker(self) -> StepRanker:
        """What was fitted; before, what comes with the package."""
        return self._ranker or _shipped()

    @property
    def trained_on(self) -> frozenset[str] | None:
        """Ids of the questions that the weights have seen."""
        return self.ranker.trained_on

    @property
    def weights(self) -> str | None:
        """Digest of the weights that come with the package."""
        return _fingerprint()

    def fit(self, cases: Sequence[Case], means: Means) -> Self:
        """A copy with weights of its own, from labelled cases; cases without a label are left out."""
        return fitted(self, _ranker=self.ranker.fit(cases))

    def judge(self, cases: Sequence[Case], means: Means) -> list[Verdict]:
        """log p of every step, and of every agent's likeliest one."""
        return self.ranker.judge(cases)

    def cut_share(self, cases: Sequence[Case], means: Means) -> float | None:
        """Nothing: it is told beside those of localizers that read in a window."""
        return 0.0


@cache
def _shipped() -> StepRanker:
    return StepRanker.load(WEIGHTS, TextFeatures(TEXT))


@cache
def _fingerprint() -> str:
    return digest(WEIGHTS.read_text(encoding="utf-8"))
