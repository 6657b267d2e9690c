"""A language model as judge: asked which step is the wrong one, its probability of each step's number is the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.engines.base import ScoreRequest
from apportion.pipeline.engines.plan import Ids
from apportion.pipeline.localizers.base import Localizer, Means, Needs, Verdict, of_agents
from apportion.pipeline.trajectory.case import Case
from apportion.pipeline.trajectory.markers import ForgedRolesError
from apportion.pipeline.trajectory.render import Chat, encode, prompt_ids

NAME = "generative_judge"
SYSTEM = "You find the first wrong step in a record of work. Answer with its number."
NONE = "none"
_SHORTEST = 8


class GenerativeJudge(Localizer):
    """One prompt: the question, the reference where there is one, the steps with their numbers and speakers, and the
    question which is the first that is wrong. An agent's score is that of its steps together.

    Nothing is generated: log p(number | prompt) is read for every step (and for "none" where that is an answer), so
    the answer is always one of the options, and the same on every machine. A log beyond the window is cut in its
    longest steps, each to the same number of characters.

    Status: source (all-at-once prompting: Who&When, arXiv 2505.00212), ours for reading probabilities of the numbers.
    Degenerate: a log with more steps than the window holds even as single characters is judged by its last steps only;
    the others get minus infinity. A log whose text forges tokens of the chat template is refused.
    Cost: one prompt per case; its options share it.
    """

    needs: ClassVar[Needs] = Needs.SCORER
    window: int | None = Field(None, ge=64, le=2**24)
    """Prompt tokens at most; by default the engine's context window."""

    def judge(self, cases: Sequence[Case], means: Means) -> list[Verdict]:
        if means.engine is None:
            raise UserError(f"{NAME} asks a scorer, and none is given")
        engine = means.engine()
        asked = [self._requests(engine.tokenizer, case, means, engine.max_model_len) for case in cases]
        flat = [request for _, requests, _ in asked for request in requests]
        scores = iter(engine.score(flat))
        verdicts = []
        for case, (first, requests, refused) in zip(cases, asked, strict=True):
            log_p = [sum(next(scores).logprobs) for _ in requests]
            none = log_p.pop() if means.sound and log_p else -np.inf
            verdicts.append(replace(_verdict(case, first, log_p, float(none)), refused=refused))
        return verdicts

    def obstacle(self, case: Case, tokenizer: Any, means: Means) -> str | None:
        return self._requests(tokenizer, case, means, means.window)[2]

    def cut_share(self, cases: Sequence[Case], means: Means) -> float | None:
        """Share of the cases' characters that their prompts leave out."""
        assert means.engine is not None
        engine = means.engine()
        whole = kept = 0
        for case in cases:
            try:
                _, first, longest = self._fitted(engine.tokenizer, case, means, engine.max_model_len)
            except ForgedRolesError:
                first, longest = len(case.steps), 0
            sizes = [len(" ".join(step.text.split())) for step in case.steps]
            whole += sum(sizes)
            kept += sum(min(size, longest) for size in sizes[first:])
        return 1 - kept / whole if whole else 0.0

    def prompt(self, case: Case, first: int, longest: int, none: bool) -> Chat:
        """The chat with the steps from place `first`, each cut to `longest` characters."""
        lines = [f"Question: {case.question.strip()[: max(longest, 500)]}"]
        if case.reference:
            lines.append(f"The right answer is: {case.reference}")
        lines.append("Steps:")
        shown = enumerate(case.steps[first:], first)
        lines += [f"{place}. {step.agent}: {_cut(' '.join(step.text.split()), longest)}" for place, step in shown]
        ask = f' If no step is wrong, answer "{NONE}".' if none else ""
        lines.append(f"Which is the number of the first step that is wrong?{ask}")
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "\n".join(lines)}]

    def _fitted(self, tokenizer: Any, case: Case, means: Means, most: int) -> tuple[Ids, int, int]:
        """The prompt in the window, the first step that it shows, and the characters that it shows of a step."""
        room = min(self.window or most, most) - 8
        first, longest = 0, max((len(step.text) for step in case.steps), default=1)
        while True:
            prompt = prompt_ids(tokenizer, [self.prompt(case, first, longest, means.sound)])[0]
            if len(prompt) <= room:
                return prompt, first, longest
            if longest > _SHORTEST:
                longest = min(longest - 1, max(_SHORTEST, int(longest * 0.9 * room / len(prompt))))
            elif first < len(case.steps) - 1:
                first += max(1, (len(case.steps) - first) // 8)
            else:
                return prompt[-room:], first, longest

    def _requests(
        self, tokenizer: Any, case: Case, means: Means, most: int
    ) -> tuple[int, list[ScoreRequest], str | None]:
        """The first step that the prompt shows, a request per option, and why there is none."""
        if not case.steps:
            return 0, [], None
        try:
            prompt, first, _ = self._fitted(tokenizer, case, means, most)
        except ForgedRolesError as error:
            return len(case.steps), [], str(error)
        options = [str(place) for place in range(first, len(case.steps))] + ([NONE] if means.sound else [])
        targets = encode(tokenizer, [f"{option}\n" for option in options])
        return first, [ScoreRequest(prompt, target) for target in targets], None


def _verdict(case: Case, first: int, log_p: Sequence[float], none: float) -> Verdict:
    steps = np.full(len(case.steps), -np.inf)
    steps[first:] = log_p
    agents = dict.fromkeys(case.agents, 0.0)
    top = max(log_p, default=0.0)
    for step, value in zip(case.steps[first:], log_p, strict=True):
        agents[step.agent] += float(np.exp(value - top))
    verdict = of_agents(case, Verdict(steps, agents, none))
    scores = np.append(verdict.steps, none)
    if not np.isfinite(scores).any():
        return verdict
    odds = np.exp(scores - scores.max())
    return replace(verdict, probabilities=odds[:-1] / odds.sum())


def _cut(text: str, longest: int) -> str:
    """The start and the end of a text that is too long."""
    if len(text) <= longest:
        return text
    half = max(1, (longest - 5) // 2)
    return f"{text[:half]} ... {text[-half:]}"
