"""The learned localizer: a ranker over steps on all signals, and on top of it one over agents.

Steps: log p(step | log) of conditional logits over the signals' columns, averaged over parts of the columns
(`pipeline.localize.subspaces`). Agents: a second conditional logit over what the first says of each agent's steps (the
sum and the largest of their probabilities, in logs) and the agent's role; the labelled agent is not always the one who
speaks at the labelled step.

Status: ours. Degenerate: before it has learned, every step and agent is equally likely; a log of one step or agent
has only one answer. A log without steps gets an empty verdict.
Cost: the signals'; the rankers themselves take milliseconds a log.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.localize.base import Verdict
from pipeline.localize.case import Case
from pipeline.localize.features import Features
from pipeline.localize.ranker import Options, Ranker, fit
from pipeline.localize.signals import TEXT
from pipeline.localize.signals.roles import ROLES, role_of
from pipeline.localize.subspaces import fit_averaged

Floats = NDArray[np.float64]

AGENT_COLUMNS = ("sum", "top", *ROLES)
STEP_PRIOR = 3.0
AGENT_PRIOR = np.array([0.5, 0.5, *(20.0 for _ in ROLES)])
"""Precisions of the Gaussian priors on the weights: what the steps say of an agent is trusted more than its role."""
ALWAYS = "turns"
"""The signal whose columns every member of the steps' ranker sees."""
WEIGHTS = Path(__file__).parent / "weights" / "text.json"
_PARTS = 5


@dataclass(frozen=True)
class Learned:
    """Rankers over steps and agents. `trained_on` holds the ids of the questions that the weights have seen."""

    features: Features
    steps: Ranker | None = None
    agents: Ranker | None = None
    trained_on: frozenset[str] = frozenset()
    figures: Mapping[str, Any] = field(default_factory=dict)
    name: str = "learned"

    def fit(self, cases: Sequence[Case]) -> Learned:
        """A copy that has learned from labelled cases; cases without a label are left out.

        The agents' ranker learns from verdicts on steps that were made without the log's own question.
        """
        known = [case for case in cases if case.label is not None and case.steps]
        if not known:
            return replace(self, steps=None, agents=None, trained_on=frozenset())
        options = [options_of(case, x) for case, x in zip(known, self.features.of(known), strict=True)]
        part = _parts(known)
        seen: list[Options] = []
        for number in range(max(part) + 1):
            rest = self.fit_steps([one for one, p in zip(options, part, strict=True) if p != number])
            for case, one, p in zip(known, options, part, strict=True):
                if p == number and case.label is not None:
                    names = case.agents
                    chosen = names.index(case.label.agent) if case.label.agent in names else None
                    seen.append(Options(agent_columns(case, _log_p(rest, one.x)), chosen))
        return replace(
            self,
            steps=self.fit_steps(options),
            agents=fit(seen, AGENT_PRIOR),
            trained_on=frozenset(case.question_id for case in known),
            figures={},
        )

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """One verdict a case, in order, as log-probabilities of its steps and of its agents."""
        return [self._verdict(case, x) for case, x in zip(cases, self.features.of(cases), strict=True)]

    def cut_share(self, cases: Sequence[Case]) -> float:
        """Share of the logs' text that a scorer did not see; 0 where the signals ask none."""
        return self.features.cut_share(cases)

    def fit_steps(self, options: Sequence[Options]) -> Ranker:
        """The ranker over steps alone, from `options_of` labelled cases."""
        always = np.array([column.split(".")[0] == ALWAYS for column in self.features.columns])
        return fit_averaged(options, STEP_PRIOR, always)

    def _verdict(self, case: Case, x: Floats) -> Verdict:
        if not case.steps:
            return Verdict(np.zeros(0), {})
        steps = _log_p(self.steps, x)
        agents = _log_p(self.agents, agent_columns(case, steps))
        return Verdict(steps, dict(zip(case.agents, agents.tolist(), strict=True)))

    def save(self, path: Path) -> None:
        """Weights, what they belong to and what they have seen, as JSON."""
        if self.steps is None or self.agents is None:
            raise ValueError("nothing has been learned yet")
        record = {
            "format": 1,
            "signals": {signal.name: signal.version for signal in self.features.signals},
            "scorer": self.features.fingerprint if self.features.needs_model else None,
            "steps": dict(zip(self.features.columns, self.steps.weights.tolist(), strict=True)),
            "agents": dict(zip(AGENT_COLUMNS, self.agents.weights.tolist(), strict=True)),
            "trained_on": sorted(self.trained_on),
            "figures": dict(self.figures),
        }
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path, features: Features) -> Learned:
        """The localizer of a weights file. Raises UserError where the file is none, or is for other columns."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            versions, scorer = dict(record["signals"]), record["scorer"]
            steps, agents = _weights(record["steps"]), _weights(record["agents"])
            trained = frozenset(map(str, record["trained_on"]))
            figures = dict(record["figures"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: no weights of a learned localizer ({error})") from error
        if (
            list(steps) != features.columns
            or list(agents) != list(AGENT_COLUMNS)
            or versions != {signal.name: signal.version for signal in features.signals}
        ):
            raise UserError(f"{path}: its weights are for other signals than these; train them anew")
        if features.needs_model and scorer != features.fingerprint:
            raise UserError(
                f"{path}: its weights were learned with another scorer than this model; use that model, train the "
                "weights anew, or use weights that need no scorer"
            )
        return cls(
            features, Ranker(np.array(list(steps.values()))), Ranker(np.array(list(agents.values()))), trained, figures
        )


def shipped(cache: Path | None = None) -> Learned:
    """The localizer with the weights that come with the project; `cache` is a folder for its signals."""
    return Learned.load(WEIGHTS, Features(TEXT, cache=cache))


def agent_columns(case: Case, log_p: Floats) -> Floats:
    """What is known of each agent, shape (agents, columns), from the log-probabilities of the steps."""
    rows = []
    for agent in case.agents:
        mine = [i for i, step in enumerate(case.steps) if step.agent == agent]
        role = role_of(case.steps[mine[0]])
        summed, top = float(np.logaddexp.reduce(log_p[mine])), float(log_p[mine].max())
        rows.append([summed, top, *(float(role == kind) for kind in ROLES)])
    return np.array(rows)


def _log_p(ranker: Ranker | None, x: Floats) -> Floats:
    return ranker.log_p(x) if ranker is not None else np.full(len(x), -math.log(len(x)))


def options_of(case: Case, x: Floats) -> Options:
    """The steps of a labelled case as options, with the columns `x` (steps, columns) of its features."""
    assert case.label is not None
    at = next((i for i, step in enumerate(case.steps) if step.index == case.label.step), None)
    return Options(x, at)


def _parts(cases: Sequence[Case]) -> list[int]:
    """A part for every case, equal for equal questions."""
    places = {question: i for i, question in enumerate(sorted({case.question_id for case in cases}))}
    return [places[case.question_id] % _PARTS for case in cases]


def _weights(record: Mapping[str, Any]) -> dict[str, float]:
    weights = {str(name): float(weight) for name, weight in record.items()}
    if not all(map(math.isfinite, weights.values())):
        raise ValueError("a weight is no finite number")
    return weights
