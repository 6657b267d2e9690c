"""The `likelihood` value function: how probable is the reference answer when only a coalition has spoken?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.credit.choose import within_tokens
from apportion.pipeline.engines.base import Engine, ScoreRequest
from apportion.pipeline.engines.plan import distinct_tokens
from apportion.pipeline.games.game import Game
from apportion.pipeline.games.prompts import layout, prompts
from apportion.pipeline.games.tables import Planned
from apportion.pipeline.trajectory.render import text_ids
from apportion.pipeline.values._desk import Desk
from apportion.pipeline.values.base import Asked, Masked, Need, Row, by_game, value_row


class Likelihood(Masked):
    """The probability of the reference answer after the coalition's messages.

    v(S) = exp(mean log p(reference tokens | the answering agent's view with everyone outside S masked, answer cue)).

    Status: ours in this form; counterfactual masking after SHARP (arXiv 2602.08335), which regenerates instead.
    Degenerate: an empty reference has no tokens and is refused; a view beyond the context window is cut in the middle
    of its longest messages, for all coalitions alike, and flagged `truncated`.
    Cost: prefill only, one prompt a coalition, of which every distinct prefix is computed once.
    """

    name: ClassVar[str] = "likelihood"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SCORER})

    def affordable(self, planned: Planned, desk: Desk) -> Planned:
        """As many coalitions as `annotate.token_budget` pays for."""
        section, game = desk.config.annotate, planned.game
        if not section.token_budget:
            return planned
        estimator = within_tokens(
            section.token_budget, layout(game, desk.tokenizer), section.estimator, len(game.players), section.budget,
            game.unions, desk.config.run.seed,
        )  # fmt: skip
        return Planned(game, estimator)

    def ask(self, game: Game, masks: NDArray[np.int64], desk: Desk) -> Asked:
        """See `ask`."""
        return ask(game, masks, desk.tokenizer)

    def cost(self, asked: Sequence[Asked]) -> Mapping[str, int]:
        """Prompt tokens."""
        return dict(zip(("prompt_tokens", "distinct_tokens"), tokens(asked), strict=True))

    def values(self, asked: Sequence[Asked], desk: Desk) -> Iterator[list[Row] | str]:
        """See `evaluate`."""
        return by_game(asked, evaluate(asked, desk.engine, desk.done))


def ask(game: Game, masks: NDArray[np.int64], tokenizer: Any) -> Asked:
    """One request a coalition; the token that vLLM must generate has its room too. Raises ValueError: see `prompts`."""
    reference = game.target.strip()
    target = text_ids(tokenizer, [f" {reference}" if game.rules.cue else reference])[0]
    if not target:
        raise ValueError(f"trajectory {game.trajectory_id}: the reference answer {game.target!r} has no tokens")
    ids, share = prompts(game, masks, tokenizer, len(target) + 1)
    return Asked(game, masks, tuple(ScoreRequest(one, target) for one in ids), share)


def tokens(asked: Sequence[Asked]) -> tuple[int, int]:
    """(all prompt tokens, distinct trie tokens) of some games: the cost without and with shared prefixes."""
    ids = [request.ids for one in asked for request in one.requests]
    return sum(map(len, ids)), distinct_tokens(ids)


def evaluate(
    asked: Sequence[Asked], engine: Engine, progress: Callable[[int], None] | None = None
) -> list[dict[str, Any]]:
    """The rows of `coalitions`, all games of the batch scored together."""
    scores = iter(engine.score([request for one in asked for request in one.requests], progress))
    rows: list[dict[str, Any]] = []
    for one in asked:
        for mask in one.masks:
            score = next(scores)
            total = math.fsum(score.logprobs)
            rows.append(
                value_row(
                    one.game,
                    int(mask),
                    min(1.0, math.exp(total / len(score.logprobs))),
                    sum_log_p=total,
                    target_tokens=len(score.logprobs),
                    prompt_tokens=score.prompt_tokens,
                    cached_tokens=score.cached_tokens,
                    truncated=one.cut_share > 0,
                )
            )
    return rows
