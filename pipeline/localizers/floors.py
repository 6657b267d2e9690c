"""Localizers that read nothing: what any signal has to beat.

A verdict that does not tell options apart gives them equal scores, and the metrics meet ties in expectation: `Uniform`
therefore gets exactly what guessing gets on average, without a draw. Names of agents count as a whole.

Status: ours. Cost: counting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.localizers.base import Verdict
from apportion.pipeline.trajectory.case import Case

Floats = NDArray[np.float64]
Counts = Mapping[str, Counter[int]]

_LITTLE = 1e-6


@dataclass(frozen=True)
class Uniform:
    """Every step and every agent alike: the expectation of guessing."""

    name: str = "random"

    def fit(self, cases: Sequence[Case]) -> Uniform:
        return self

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return [Verdict(np.zeros(len(case.steps)), dict.fromkeys(case.agents, 0.0)) for case in cases]


@dataclass(frozen=True)
class ConstantStep:
    """The place that was labelled most often in training logs of the same kind, counted from the start or the end.

    The other places follow by their counts, so a log that is too short for the first gets the next; counts over all
    kinds of log break ties and serve a kind that training did not have. To blame is who speaks there.
    """

    end: Literal["start", "end"] = "start"
    counts: Counts = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"constant step from {self.end}"

    def fit(self, cases: Sequence[Case]) -> ConstantStep:
        """Count the labelled places by kind of log."""
        counts: dict[str, Counter[int]] = {}
        for case in cases:
            place = None if case.label is None else labelled_place(case)
            if place is not None:
                counts.setdefault(case.source, Counter())[self._from(place, case)] += 1
        return replace(self, counts=counts)

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        total: Counter[int] = sum(self.counts.values(), Counter())
        verdicts = []
        for case in cases:
            own = self.counts.get(case.source, Counter())
            places = [self._from(i, case) for i in range(len(case.steps))]
            verdicts.append(by_step(case, np.array([own[place] + _LITTLE * total[place] for place in places])))
        return verdicts

    def _from(self, place: int, case: Case) -> int:
        return place if self.end == "start" else len(case.steps) - 1 - place


@dataclass(frozen=True)
class ConstantAgent:
    """The name that was blamed most often in training logs of the same kind; all its steps alike."""

    name: str = "constant agent"
    counts: Mapping[str, Counter[str]] = field(default_factory=dict)

    def fit(self, cases: Sequence[Case]) -> ConstantAgent:
        """Count the labelled names by kind of log."""
        counts: dict[str, Counter[str]] = {}
        for case in cases:
            if case.label is not None:
                counts.setdefault(case.source, Counter())[case.label.agent] += 1
        return replace(self, counts=counts)

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        total: Counter[str] = sum(self.counts.values(), Counter())
        verdicts = []
        for case in cases:
            own = self.counts.get(case.source, Counter())
            scores = {agent: own[agent] + _LITTLE * total[agent] for agent in case.agents}
            verdicts.append(by_agent(case, scores))
        return verdicts


@dataclass(frozen=True)
class Speaker:
    """The agent that speaks first, last or most often, users left out, and its first, its last, or any of its steps."""

    which: Literal["first", "last", "most talkative"]

    @property
    def name(self) -> str:
        return f"{self.which} speaker"

    def fit(self, cases: Sequence[Case]) -> Speaker:
        return self

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return [self._judge(case) for case in cases]

    def _judge(self, case: Case) -> Verdict:
        user = np.array([step.role == "user" for step in case.steps], dtype=bool)
        if self.which == "most talkative":
            spoken = Counter(step.agent for step in case.steps if step.role != "user")
            return by_agent(case, {agent: float(spoken[agent]) for agent in case.agents})
        at = np.arange(len(case.steps), dtype=float)
        scores = at if self.which == "last" else -at
        return by_step(case, np.where(user, -np.inf, scores))


def by_step(case: Case, scores: Floats) -> Verdict:
    """Blame for each agent the best of its steps."""
    agents = dict.fromkeys(case.agents, -np.inf)
    for step, score in zip(case.steps, scores, strict=True):
        agents[step.agent] = max(agents[step.agent], float(score))
    return Verdict(scores, agents)


def by_agent(case: Case, scores: Mapping[str, float]) -> Verdict:
    """Blame for each step what its speaker has."""
    return Verdict(np.array([scores[step.agent] for step in case.steps], dtype=float), scores)


def labelled_place(case: Case) -> int | None:
    """Place of the labelled step among the steps, None where the log has no such step."""
    if case.label is None:
        return None
    return next((i for i, step in enumerate(case.steps) if step.index == case.label.step), None)
