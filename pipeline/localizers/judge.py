"""A language model as judge: asked which step is the wrong one, its probability of each step's number is the score.

One prompt: the question, the reference where there is one, the steps with their numbers and speakers, and the question
which is the first that is wrong. Nothing is generated: log p(number | prompt) is read for every step (and for "none"
where asked), so the answer is always one of the options, and the same on every machine. A log beyond the window is cut
in its longest steps, each to the same number of characters.

Status: source (all-at-once prompting: Who&When, arXiv 2505.00212), ours for reading probabilities of the numbers.
Degenerate: a log with more steps than the window holds even as single characters is judged by its last steps only; the
others get minus infinity. A log whose text forges tokens of the chat template is not asked about: no option is likelier
than another, and `refused` says which log and why. Cost: one prompt a case; its options share it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from apportion.pipeline.engines.base import Engine, ScoreRequest
from apportion.pipeline.engines.plan import Ids
from apportion.pipeline.localizers.base import Verdict
from apportion.pipeline.localizers.blamable import of_agents
from apportion.pipeline.trajectory.case import Case
from apportion.pipeline.trajectory.markers import ForgedRolesError
from apportion.pipeline.trajectory.render import Chat, encode, prompt_ids

SYSTEM = "You find the first wrong step in a record of work. Answer with its number."
NONE = "none"
_SHORTEST = 8


@dataclass(frozen=True)
class GenerativeJudge:
    """`none`: may it say that no step is wrong? `window`: prompt tokens at most; None takes the engine's."""

    start: Callable[[], Engine]
    """Gives the engine, at the first case that is judged."""
    none: bool = False
    window: int | None = None
    progress: Callable[[int], None] | None = None
    name: str = "generative_judge"
    slow: bool = True
    refused: list[str] = field(default_factory=list, compare=False)
    """A line for every log that was not asked about."""

    def fit(self, cases: Sequence[Case]) -> GenerativeJudge:
        """Nothing to learn."""
        return self

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """Log-probabilities of the options; an agent's score is that of its steps together."""
        engine = self.start()
        asked = [self._requests(engine, case) for case in cases]
        flat = [request for _, some in asked for request in some]
        scores = iter(engine.score(flat, self.progress))
        verdicts = []
        for case, (first, some) in zip(cases, asked, strict=True):
            log_p = [sum(next(scores).logprobs) for _ in some]
            none = log_p.pop() if self.none and log_p else -np.inf
            verdicts.append(_verdict(case, first, log_p, float(none)))
        return verdicts

    def cut_share(self, cases: Sequence[Case]) -> float:
        """Share of the cases' characters that their prompts leave out, in [0, 1]."""
        engine = self.start()
        whole = kept = 0
        for case in cases:
            try:
                _, first, longest = self._fitted(engine, case)
            except ForgedRolesError:
                first, longest = len(case.steps), 0
            sizes = [len(" ".join(step.text.split())) for step in case.steps]
            whole += sum(sizes)
            kept += sum(min(size, longest) for size in sizes[first:])
        return 1 - kept / whole if whole else 0.0

    def prompt(self, case: Case, first: int, longest: int) -> Chat:
        """The chat with the steps from place `first`, each cut to `longest` characters."""
        lines = [f"Question: {case.question.strip()[: max(longest, 500)]}"]
        if case.reference:
            lines.append(f"The right answer is: {case.reference}")
        lines.append("Steps:")
        lines += [
            f"{place}. {step.agent}: {_cut(' '.join(step.text.split()), longest)}"
            for place, step in enumerate(case.steps)
            if place >= first
        ]
        ask = f' If no step is wrong, answer "{NONE}".' if self.none else ""
        lines.append(f"Which is the number of the first step that is wrong?{ask}")
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "\n".join(lines)}]

    def _fitted(self, engine: Engine, case: Case) -> tuple[Ids, int, int]:
        """The prompt in the window, the first step that it shows, and the characters that it shows of a step."""
        room = min(self.window or engine.max_model_len, engine.max_model_len) - 8
        first, longest = 0, max((len(step.text) for step in case.steps), default=1)
        while True:
            prompt = prompt_ids(engine.tokenizer, [self.prompt(case, first, longest)])[0]
            if len(prompt) <= room:
                return prompt, first, longest
            if longest > _SHORTEST:
                longest = min(longest - 1, max(_SHORTEST, int(longest * 0.9 * room / len(prompt))))
            elif first < len(case.steps) - 1:
                first += max(1, (len(case.steps) - first) // 8)
            else:
                return prompt[-room:], first, longest

    def _requests(self, engine: Engine, case: Case) -> tuple[int, list[ScoreRequest]]:
        if not case.steps:
            return 0, []
        try:
            prompt, first, _ = self._fitted(engine, case)
        except ForgedRolesError as error:
            self.refused.append(f"{self.name}: log {case.case_id} is left unjudged: {error}")
            return len(case.steps), []
        options = [str(place) for place in range(first, len(case.steps))] + ([NONE] if self.none else [])
        targets = encode(engine.tokenizer, [f"{option}\n" for option in options])
        return first, [ScoreRequest(prompt, target) for target in targets]


def _verdict(case: Case, first: int, log_p: Sequence[float], none: float) -> Verdict:
    steps = np.full(len(case.steps), -np.inf)
    steps[first:] = log_p
    agents = dict.fromkeys(case.agents, 0.0)
    top = max(log_p, default=0.0)
    for step, value in zip(case.steps[first:], log_p, strict=True):
        agents[step.agent] += float(np.exp(value - top))
    return of_agents(case, Verdict(steps, agents, none))


def _cut(text: str, longest: int) -> str:
    """The start and the end of a text that is too long."""
    if len(text) <= longest:
        return text
    half = max(1, (longest - 5) // 2)
    return f"{text[:half]} ... {text[-half:]}"
