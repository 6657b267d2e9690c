"""The floor that reads no word but learns: rankers over the outline of a log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from pydantic import PrivateAttr

from apportion.pipeline.localizers.base import UNTRAINED, Floats, Localizer, Means, Verdict, alike, fitted
from apportion.pipeline.localizers.ranking.ranker import Chosen, best_shift, fit_chosen
from apportion.pipeline.localizers.signals.outline import STRUCTURE
from apportion.pipeline.trajectory.case import Case, labelled_place, option_of


@dataclass(frozen=True)
class Speakers:
    """Names that enough training logs share. A name counts as a whole, in any case."""

    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, cases: Iterable[Case], least: int = 5) -> Speakers:
        """The names that speak in at least `least` of the cases, the commonest first."""
        seen = Counter(name for case in cases for name in sorted({agent.casefold() for agent in case.agents}))
        return cls(tuple(name for name, count in seen.most_common() if count >= least))

    def columns(self, case: Case) -> Floats:
        """For each name whether it speaks the step, the step after and the step before: (steps, 3 x names)."""
        here = self.flags([step.agent for step in case.steps])
        edge = np.zeros((1, len(self.names)))
        before = np.concatenate([edge, here[:-1]])[: len(here)]
        after = np.concatenate([here[1:], edge])[: len(here)]
        return np.concatenate([here, before, after], axis=1)

    def flags(self, agents: Sequence[str]) -> Floats:
        """Shape (agents, names): 1 where an agent bears the name."""
        flags = [agent.casefold() == name for agent in agents for name in self.names]
        return np.array(flags, dtype=float).reshape(len(agents), len(self.names))


class Structure(Localizer):
    """Steps ranked by places, speakers, roles, addressees, lengths and the names that training logs share; agents by a
    ranker of their own, which sees what an agent's steps got from step rankers that were fitted without the case.

    Of solutions (`Means.sound`), "no step is wrong" is one more option beside the steps, with columns of its own: a
    constant, and log(1 + steps) and log(1 + characters) of the whole. The likeliest option is seldom the best for F1,
    so "none" gets a shift, chosen where F1 on the training cases (each scored by a ranker that did not see it) is
    highest.

    Status: ours. Degenerate: without labelled cases all steps and all agents are alike, and nothing is named.
    Cost: seconds for hundreds of logs.
    """

    learns: ClassVar[bool] = True
    _speakers: Speakers = PrivateAttr(default_factory=Speakers)
    _steps: Chosen | None = PrivateAttr(default=None)
    _agents: Chosen | None = PrivateAttr(default=None)
    _options: Chosen | None = PrivateAttr(default=None)
    _shift: float = PrivateAttr(default=0.0)

    def fit(self, cases: Sequence[Case], means: Means) -> Self:
        """Fit the rankers on the labelled cases; their settings are chosen by folds among these."""
        if means.sound:
            return self._fit_solutions([case for case in cases if case.sound or case.label is not None])
        known = [case for case in cases if case.label is not None]
        speakers = Speakers.of(known)
        if not known:
            return fitted(self, _speakers=speakers, _steps=None, _agents=None)
        x = [self.columns(case, speakers) for case in known]
        steps, unseen = fit_chosen(known, x, [labelled_place(case) for case in known])
        x = [agent_columns(case, speakers, log_p) for case, log_p in zip(known, unseen, strict=True)]
        agents, _ = fit_chosen(known, x, [_blamed(case) for case in known])
        return fitted(self, _speakers=speakers, _steps=steps, _agents=agents)

    def judge(self, cases: Sequence[Case], means: Means) -> list[Verdict]:
        return [self._solution(case, means) if means.sound else self._judge(case, means) for case in cases]

    def columns(self, case: Case, speakers: Speakers) -> Floats:
        """What is known of each step: `structure` and the shared names, shape (steps, columns)."""
        return np.concatenate([STRUCTURE.read(case), speakers.columns(case)], axis=1)

    def _judge(self, case: Case, means: Means) -> Verdict:
        if self._steps is None or self._agents is None or not case.steps:
            return alike(case, means, reason=UNTRAINED)
        steps = self._steps.log_p(case, self.columns(case, self._speakers))
        agents = self._agents.log_p(case, agent_columns(case, self._speakers, steps))
        return Verdict(steps, dict(zip(case.agents, agents.tolist(), strict=True)), probabilities=np.exp(steps))

    def _fit_solutions(self, known: Sequence[Case]) -> Self:
        if not known:
            return fitted(self, _options=None, _shift=0.0)
        right = [option_of(case) for case in known]
        options, unseen = fit_chosen(known, [option_columns(case) for case in known], right)
        return fitted(self, _options=options, _shift=best_shift(unseen, right))

    def _solution(self, case: Case, means: Means) -> Verdict:
        if self._options is None:
            return alike(case, means)
        scores = self._options.log_p(case, option_columns(case))
        return Verdict(scores[:-1], dict.fromkeys(case.agents, 0.0), float(scores[-1]) + self._shift)


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


def option_columns(case: Case) -> Floats:
    """Shape (steps + 1, columns): the steps by `structure`, and "no step is wrong"."""
    steps = STRUCTURE.read(case)
    none = [1.0, np.log1p(len(case.steps)), np.log1p(sum(len(step.text) for step in case.steps))]
    x = np.zeros((len(case.steps) + 1, steps.shape[1] + len(none)))
    x[:-1, : steps.shape[1]] = steps
    x[-1, steps.shape[1] :] = none
    return x
