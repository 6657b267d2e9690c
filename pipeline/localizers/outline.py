"""The floor that signals must beat: rankers over the outline of a log, which read no word and ask no model.

Steps are ranked by `structure` and the names that training logs share; agents by a ranker of their own, which sees
what an agent's steps got from step rankers that were fitted without the case.

Status: ours. Degenerate: without labelled cases all steps and all agents are alike. Cost: seconds for hundreds of logs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.evaluation.metrics import option_of
from apportion.pipeline.localizers import choice
from apportion.pipeline.localizers.base import Verdict
from apportion.pipeline.localizers.choice import Choice
from apportion.pipeline.localizers.floors import labelled_place
from apportion.pipeline.localizers.structure import Speakers, structure
from apportion.pipeline.trajectory.case import Case

Floats = NDArray[np.float64]

LEAST = 5
"""Training logs in which a name must speak to have a column of its own."""


@dataclass(frozen=True)
class StructureRanker:
    """Rankers over steps and over agents, by the outline alone."""

    name: str = "structure"
    speakers: Speakers = field(default_factory=Speakers)
    steps: Choice | None = None
    agents: Choice | None = None

    def fit(self, cases: Sequence[Case]) -> StructureRanker:
        """Fit both rankers on the labelled cases; their settings are chosen by folds among these."""
        known = [case for case in cases if case.label is not None]
        speakers = Speakers.of(known, LEAST)
        if not known:
            return replace(self, speakers=speakers, steps=None, agents=None)
        steps, unseen = choice.fit(
            known, [self.columns(case, speakers) for case in known], [labelled_place(case) for case in known]
        )
        columns = [agent_columns(case, speakers, log_p) for case, log_p in zip(known, unseen, strict=True)]
        agents, _ = choice.fit(known, columns, [_blamed(case) for case in known])
        return replace(self, speakers=speakers, steps=steps, agents=agents)

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return [self._judge(case) for case in cases]

    def columns(self, case: Case, speakers: Speakers) -> Floats:
        """What is known of each step: `structure` and the shared names, shape (steps, columns)."""
        return np.concatenate([structure(case)[1], speakers.columns(case)[1]], axis=1)

    def _judge(self, case: Case) -> Verdict:
        if self.steps is None or self.agents is None or not case.steps:
            return Verdict(np.zeros(len(case.steps)), dict.fromkeys(case.agents, 0.0))
        steps = self.steps.log_p(case, self.columns(case, self.speakers))
        agents = self.agents.log_p(case, agent_columns(case, self.speakers, steps))
        return Verdict(steps, dict(zip(case.agents, agents.tolist(), strict=True)))


def agent_columns(case: Case, speakers: Speakers, log_p: Floats) -> Floats:
    """Shape (agents, columns), agents in the order of their first message.

    Shares of messages and characters, log(1 + messages), place of the first and the last message in [0, 1], flags for
    speaking first or last, being a user or a tool, being addressed; what the step ranker gives its steps: their summed
    probability, its logarithm, and the best of them; then the shared names.
    """
    agents = case.agents
    speaker = np.array([agents.index(step.agent) for step in case.steps])
    own = np.eye(len(agents))[speaker]
    messages = own.sum(0)
    characters = np.array([len(step.text) for step in case.steps], dtype=float) @ own
    last = len(case.steps) - 1
    first_at = own.argmax(0)
    last_at = last - own[::-1].argmax(0)
    p = np.exp(log_p)
    total = p @ own
    roles = [{step.role for step in case.steps if step.agent == agent} for agent in agents]
    addressed = {step.recipient for step in case.steps}
    columns = [
        messages / messages.sum(),
        characters / max(characters.sum(), 1.0),
        np.log1p(messages),
        first_at / max(last, 1),
        last_at / max(last, 1),
        first_at == 0,
        last_at == last,
        ["user" in some for some in roles],
        ["tool" in some for some in roles],
        [agent in addressed for agent in agents],
        total,
        np.log(total + 1e-3),
        (p[:, None] * own).max(0),
    ]
    return np.concatenate([np.column_stack(columns).astype(float), speakers.flags(agents)], axis=1)


def _blamed(case: Case) -> int | None:
    """Place of the labelled agent among those who spoke."""
    if case.label is None or case.label.agent not in case.agents:
        return None
    return case.agents.index(case.label.agent)


@dataclass(frozen=True)
class UniformChecker:
    """Every step and "no step is wrong" alike: the expectation of guessing."""

    name: str = "random"

    def fit(self, cases: Sequence[Case]) -> UniformChecker:
        return self

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return [Verdict(np.zeros(len(case.steps)), dict.fromkeys(case.agents, 0.0), 0.0) for case in cases]


@dataclass(frozen=True)
class StructureChecker:
    """The same floor for solutions: "no step is wrong" is one more option beside the steps.

    Its columns are a constant, and log(1 + steps) and log(1 + characters) of the whole solution, which are 0 for steps.
    The likeliest option is seldom the best for F1, so "none" gets a shift, chosen where F1 on the training cases (each
    scored by a ranker that did not see it) is highest.
    """

    name: str = "structure"
    options: Choice | None = None
    shift: float = 0.0

    def fit(self, cases: Sequence[Case]) -> StructureChecker:
        """Fit the ranker on solutions with a label or marked sound, then choose the shift."""
        known = [case for case in cases if case.sound or case.label is not None]
        if not known:
            return replace(self, options=None, shift=0.0)
        right = [option_of(case) for case in known]
        options, unseen = choice.fit(known, [option_columns(case) for case in known], right)
        return replace(self, options=options, shift=best_shift(unseen, right))

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return [self._judge(case) for case in cases]

    def _judge(self, case: Case) -> Verdict:
        agents = dict.fromkeys(case.agents, 0.0)
        if self.options is None:
            return Verdict(np.zeros(len(case.steps)), agents, 0.0)
        scores = self.options.log_p(case, option_columns(case))
        return Verdict(scores[:-1], agents, float(scores[-1]) + self.shift)


def option_columns(case: Case) -> Floats:
    """Shape (steps + 1, columns): the steps by `structure`, and "no step is wrong"."""
    steps = structure(case)[1]
    none = [1.0, np.log1p(len(case.steps)), np.log1p(sum(len(step.text) for step in case.steps))]
    x = np.zeros((len(case.steps) + 1, steps.shape[1] + len(none)))
    x[:-1, : steps.shape[1]] = steps
    x[-1, steps.shape[1] :] = none
    return x


def best_shift(scores: Sequence[Floats], right: Sequence[int]) -> float:
    """What to add to the last score of every case so that F1 (see `metrics.solutions`) is highest; 0 where it never is
    above 0. Only the points where a case changes its answer can matter, and the middle between two of them is taken."""
    edges = np.array([one[:-1].max(initial=-np.inf) - one[-1] for one in scores])
    sound = np.array([place == len(one) - 1 for one, place in zip(scores, right, strict=True)])
    hit = np.array([one[:-1].argmax() == place for one, place in zip(scores, right, strict=True)])
    points = np.unique(edges[np.isfinite(edges)])
    if not len(points) or sound.all() or not sound.any():
        return 0.0
    shifts = np.concatenate([[points[0] - 1], (points[:-1] + points[1:]) / 2, [points[-1] + 1]])
    none = edges[None, :] < shifts[:, None]
    correct = (none & sound).sum(1) / sound.sum()
    wrong = (~none & hit).sum(1) / (~sound).sum()
    f1 = 2 * correct * wrong / np.maximum(correct + wrong, 1e-12)
    return float(shifts[f1.argmax()]) if f1.max() > 0 else 0.0
