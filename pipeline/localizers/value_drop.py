"""Process scores from the likelihood of the reference on growing prefixes: no model but the scorer, prefill only."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.progress import watcher
from apportion.pipeline.engines.base import Score, ScoreRequest
from apportion.pipeline.games.game import Game, Rules, Shown
from apportion.pipeline.games.prompts import fit
from apportion.pipeline.localizers._first_error import at_first_error, first_fall
from apportion.pipeline.localizers.base import Localizer, Means, Needs, Verdict, alike
from apportion.pipeline.trajectory.blamable import may_be_blamed
from apportion.pipeline.trajectory.case import Case
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.trajectory.render import chat, prompt_ids, text_ids

NAME = "value_drop"


class ValueDrop(Localizer):
    """V(h_t) = exp(mean log p(reference tokens | the log up to message t and its tool result, answer cue)), read in
    the answering agent's place; score_t = V(h_t) - V(h_{t-1}), and the first fall beyond the margin is the error.

    Status: ours. A difference of values is what process rewards usually are; the reader is ours: it sees the whole log,
    also what only workers saw, since the step that went wrong may be theirs.
    Degenerate: a value that never rises cannot fall; such a failure stays unlocalized. A log without a reference, or
    with a text that forges a token, is refused.
    Cost: one prompt per turn, each a prefix of the next: about one reading of the log.
    """

    needs: ClassVar[Needs] = Needs.SCORER
    target: ClassVar[Literal["decisive", "first_wrong"]] = "first_wrong"
    margin: float = Field(0.05, ge=0, lt=1)
    """A fall of the value counts as an error only beyond this."""

    def judge(self, cases: Sequence[Case], means: Means) -> list[Verdict]:
        """One verdict per case; all are scored together."""
        if means.engine is None:
            raise UserError(f"{NAME} asks a scorer, and none is given")
        engine = means.engine()
        asked = [self._requests(case, engine.tokenizer, means) for case in cases]
        flat = [request for requests in asked if not isinstance(requests, str) for request in requests]
        done = watcher().start("prefixes of failures", len(flat))
        scores = iter(engine.score(flat, done))
        verdicts = []
        for case, requests in zip(cases, asked, strict=True):
            if isinstance(requests, str):
                verdicts.append(alike(case, means, refused=requests))
                continue
            verdicts.append(self._verdict(case, values_of([next(scores) for _ in requests]), means))
        return verdicts

    def obstacle(self, case: Case, tokenizer: Any, means: Means) -> str | None:
        """Why its prompts cannot be made."""
        requests = self._requests(case, tokenizer, means)
        return requests if isinstance(requests, str) else None

    def _requests(self, case: Case, tokenizer: Any, means: Means) -> list[ScoreRequest] | str:
        if case.log is None:
            return "no messages to read"
        try:
            return prompts_of(case.log, tokenizer, means.cue, means.window)
        except ValueError as error:
            return str(error)

    def _verdict(self, case: Case, values: Sequence[float], means: Means) -> Verdict:
        assert case.log is not None
        able = dict(zip(case.places, may_be_blamed(case).tolist(), strict=True))
        error = first_fall(values, self.margin, [able.get(turn, False) for turn in case.log.turns])
        return at_first_error(case, error, values, none=self.margin if means.sound else -np.inf)


def prompts_of(log: Log, tokenizer: Any, cue: str, window: int) -> list[ScoreRequest]:
    """The scoring requests of h_0, ..., h_T. A log beyond the window is cut in its longest messages, for all alike.

    Raises ValueError where even that does not fit, where the reference has no tokens, or where a text forges a token.
    """
    reference = log.task.references[0].strip() if log.task.references else ""
    target = text_ids(tokenizer, [f" {reference}" if cue else reference])[0]
    if not reference or not target:
        raise ValueError("no reference answer to score")
    reader, system, examples = _reader(log)
    view = tuple(
        Shown(i, str(row["role"]), str(row["kind"]), str(row["agent"]), str(row["text"] or ""), None)
        for i, row in enumerate(log.messages)
        if row["kind"] != "system"
    )
    room = window - len(target) - 1
    view = fit(_whole(log, cue, reader, system, examples, view), tokenizer, room)[0].view
    known: list[set[int]] = [set(range(log.turns[0] if log.turns else len(log.messages)))]
    for turn in log.turns:
        known.append(known[-1] | set(log.known_after(turn)))
    chats = [chat(reader, system, examples, [_said(m) for m in view if m.index in indices]) for indices in known]
    prompts = prompt_ids(tokenizer, chats, cue)
    if max(map(len, prompts)) > room:
        raise ValueError(f"its fixed text does not fit in a context window of {window}; raise model.max_model_len")
    return [ScoreRequest(prompt, target) for prompt in prompts]


def values_of(scores: Sequence[Score]) -> list[float]:
    """V(h_0), ..., V(h_T) of a log from the scores of its prompts."""
    return [min(1.0, math.exp(math.fsum(score.logprobs) / len(score.logprobs))) for score in scores]


def _said(message: Shown) -> tuple[str, str, str, str]:
    return message.role, message.kind, message.agent, message.text


def _reader(log: Log) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Name, instructions and worked examples of the agent that answers for the team; an imported log has none."""
    if log.trajectory["origin"] == "imported":
        return "", "", ()
    top = [row for row in log.messages if row["role"] == "assistant" and not row["agent_call_id"]]
    answered = next((row for row in log.messages if row["is_outcome"]), top[-1] if top else None)
    reader = str(answered["agent"]) if answered else ""
    system = next((r for r in log.messages if r["kind"] == "system" and r["agent"] == reader), None)
    examples = tuple(map(tuple, json.loads(system["examples"]))) if system and system["examples"] else ()
    return reader, str(system["text"] or "") if system else "", examples


def _whole(
    log: Log, cue: str, reader: str, system: str, examples: tuple[tuple[str, str], ...], view: tuple[Shown, ...]
) -> Game:
    """The log as a game without players: what `fit` cuts to the window."""
    rules = Rules(NAME, scorer="", answerer="player", cue=cue)
    return Game(
        game_id="", trajectory_id=log.trajectory_id, task_id=log.task.task_id, players=(), rules=rules, target="",
        reader=reader, system=system, examples=examples, view=view,
    )  # fmt: skip
