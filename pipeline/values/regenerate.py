"""The `regenerate` value function: how often does the answering agent succeed when only a coalition has spoken?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from apportion.pipeline.core.config import SampleConfig
from apportion.pipeline.core.ids import digest, seed_of
from apportion.pipeline.engines.base import Engine, SampleRequest, engines_of
from apportion.pipeline.games.game import Game, Rules
from apportion.pipeline.games.prompts import kept_string, prompts
from apportion.pipeline.values._desk import Desk
from apportion.pipeline.values._sampled import drawn, share_row
from apportion.pipeline.values.base import Asked, Masked, Need, Row, Terms

Judge = Callable[[str, Game], bool]
"""Whether an answer is right."""


class Regenerate(Masked):
    """The success share of final turns written anew after the coalition's messages.

    v(S) = successes / k, of k final turns written anew from the answering agent's view with everyone outside S
    masked.

    Status: reported (SHARP, arXiv 2602.08335, regenerates its answers); both sides of a difference are written anew
    with the same decoding here, never the recorded outcome against a new one. The turn is forced by the answer cue,
    so that the agent cannot call a masked worker again; its answer is the rest of the line. It is written by the
    answering agent's own policy. Coalitions whose prompts are equal share their samples.
    Degenerate: as `likelihood` for views beyond the window.
    Cost: one short decode a sample, k for every distinct prompt; every distinct prefix is computed once.
    """

    name: ClassVar[str] = "regenerate"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SAMPLER, Need.VERIFIER})

    samples: int = Field(4, ge=1, le=1_000_000)
    """Final turns behind each value."""

    def rules(self, terms: Terms) -> Rules:
        """With how turns are sampled."""
        config = terms.config
        window = min(config.policy(name).max_model_len for name in ("", *config.team.policies))
        return replace(super().rules(terms), window=window, **drawn(config, self.samples))

    def ask(self, game: Game, masks: NDArray[np.int64], desk: Desk) -> Asked:
        """See `ask`."""
        return ask(game, masks, desk.tokenizer_of(game.reader), desk.config.sample)

    def values(self, asked: Sequence[Asked], desk: Desk) -> Iterator[list[Row] | str]:
        """See `evaluate`."""

        def right(answer: str, game: Game) -> bool:
            references = desk.logs[game.trajectory_id].task.references
            return bool(answer) and desk.verifier.verify(answer, references).success

        rows: dict[str, list[Row]] = defaultdict(list)
        voices = {one.game.reader: desk.voice(one.game.reader) for one in asked}
        for engine in engines_of(voices.values()):
            mine = [one for one in asked if voices[one.game.reader].engine is engine]
            for row in evaluate(mine, engine, desk.config.sample, right, desk.done):
                rows[row["game_id"]].append(row)
        yield from (rows[one.game.game_id] for one in asked)


def ask(game: Game, masks: NDArray[np.int64], tokenizer: Any, decoding: SampleConfig) -> Asked:
    """One prompt a coalition, with room for the answer. Raises ValueError: see `prompts`."""
    ids, share = prompts(game, masks, tokenizer, decoding.max_tokens)
    return Asked(game, masks, tuple(ids), share)


def evaluate(
    asked: Sequence[Asked],
    engine: Engine,
    decoding: SampleConfig,
    judge: Judge,
    progress: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """The rows of `coalitions`, all games of the batch sampled together."""
    places = {(one.game.game_id, ids): one.game for one in asked for ids in one.requests}
    requests = [
        SampleRequest(
            ids,
            decoding.max_tokens,
            seed_of(game.rules.seed or 0, digest([game.trajectory_id, ids, number])),
            decoding.temperature,
            decoding.top_p,
            decoding.top_k,
        )
        for (_, ids), game in places.items()
        for number in range(game.rules.k or 1)
    ]
    samples = iter(engine.sample(requests))
    verdicts = {
        place: [judge(_answer(next(samples).text), game) for _ in range(game.rules.k or 1)]
        for place, game in places.items()
    }
    if progress:
        progress(sum(len(one.masks) for one in asked))
    return [
        share_row(
            one.game,
            kept_string(int(mask), len(one.game.players)),
            verdicts[one.game.game_id, ids],
            prompt_tokens=len(ids),
            truncated=one.cut_share > 0,
        )
        for one in asked
        for mask, ids in zip(one.masks, one.requests, strict=True)
    ]


def _answer(text: str) -> str:
    """What stands on the line of the cue."""
    return (text.strip().splitlines() or [""])[0].strip()
