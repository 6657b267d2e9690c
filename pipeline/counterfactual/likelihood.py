"""The `likelihood` value function: how probable is the reference answer when only a coalition has spoken?

v(S) = exp(mean log p(reference tokens | the answering agent's view with everyone outside S masked, answer cue)).

Status: ours in this form; counterfactual masking after SHARP (arXiv 2602.08335), which regenerates instead.
Degenerate: an empty reference has no tokens and is refused; a view beyond the context window is cut in the middle
of its longest messages, for all coalitions alike, and flagged `truncated`.
Cost: prefill only, 2^n prompts a game, of which every distinct prefix is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.counterfactual.game import Game
from pipeline.engines.base import Engine, ScoreRequest
from pipeline.engines.plan import distinct_tokens
from pipeline.teams.render import encode, harmless, prompt_text

CHUNK_CHARACTERS = 8_000_000
"""Prompt text held at once, to bound memory."""
ELLIPSIS = " [...] "


@dataclass(frozen=True)
class Asked:
    """The scoring requests of one game: request i belongs to the coalition with bitmask i."""

    game: Game
    requests: tuple[ScoreRequest, ...]
    truncated: bool
    cut_share: float
    """Share of the view's tokens that did not fit in the context window."""


def kept_string(mask: int, players: int) -> str:
    """Bitmask to text: character i is 1 where player i is kept."""
    return "".join("1" if mask >> bit & 1 else "0" for bit in range(players))


def ask(game: Game, tokenizer: Any, cue: str, window: int) -> Asked:
    """The 2^n requests of a game: `window` tokens at most, the token that vLLM must generate included."""
    reference = harmless(tokenizer, game.target.strip())
    target = encode(tokenizer, [f" {reference}" if cue else reference])[0]
    if not target:
        raise ValueError(f"trajectory {game.trajectory_id}: the reference answer {game.target!r} has no tokens")
    room = window - len(target) - 1
    fitted, share = fit(game, tokenizer, cue, room)
    masks = range(2 ** len(game.players))
    texts = [prompt_text(tokenizer, fitted.coalition(mask)) + cue for mask in masks]
    prompts = encode(tokenizer, texts)
    if max(map(len, prompts)) > room:
        raise ValueError(
            f"trajectory {game.trajectory_id}: {max(map(len, prompts))} tokens of fixed text do not fit in a context "
            f"window of {window}; raise model.max_model_len"
        )
    return Asked(game, tuple(ScoreRequest(p, target) for p in prompts), share > 0, share)


def fit(game: Game, tokenizer: Any, cue: str, room: int) -> tuple[Game, float]:
    """The game with its longest messages cut in the middle until all of it fits in `room` tokens, and the share cut."""
    full = encode(tokenizer, [prompt_text(tokenizer, game.coalition(2 ** len(game.players) - 1)) + cue])[0]
    if len(full) <= room:
        return game, 0.0
    counts = [len(ids) for ids in encode(tokenizer, [m.text for m in game.view])]
    if not sum(counts):
        return game, 0.0  # nothing can be cut: `ask` refuses it
    budget = room - (len(full) - sum(counts))
    view = game.view
    for slack in (0, 16, 64, 256):  # cutting moves token borders; a second pass with some slack settles it
        cap = _water_level(counts, budget - slack - 8 * len(counts))
        view = tuple(
            replace(m, text=_cut(m.text, cap / n)) if n > cap else m for m, n in zip(game.view, counts, strict=True)
        )
        fitted = replace(game, view=view)
        size = len(encode(tokenizer, [prompt_text(tokenizer, fitted.coalition(2 ** len(game.players) - 1)) + cue])[0])
        if size <= room:
            break
    kept = sum(len(ids) for ids in encode(tokenizer, [m.text for m in view]))
    return replace(game, view=view), max(1e-9, 1 - kept / sum(counts))


def chunks(games: Sequence[Game]) -> Iterator[list[Game]]:
    """Games in order, cut so that the prompt text of a chunk stays within bounds."""
    chunk: list[Game] = []
    size = 0
    for game in games:
        cost = 2 ** len(game.players) * sum(len(m.text) for m in game.view)
        if chunk and size + cost > CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
        chunk.append(game)
        size += cost
    if chunk:
        yield chunk


def tokens(asked: Sequence[Asked]) -> tuple[int, int]:
    """(all prompt tokens, distinct trie tokens) of some games: the cost without and with shared prefixes."""
    prompts = [request.ids for one in asked for request in one.requests]
    return sum(map(len, prompts)), distinct_tokens(prompts)


def evaluate(
    asked: Sequence[Asked], engine: Engine, progress: Callable[[int], None] | None = None
) -> list[dict[str, Any]]:
    """The rows of `coalitions`, all games of the batch scored together."""
    scores = engine.score([request for one in asked for request in one.requests], progress)
    rows: list[dict[str, Any]] = []
    position = 0
    for one in asked:
        for mask in range(len(one.requests)):
            score = scores[position]
            position += 1
            total = math.fsum(score.logprobs)
            rows.append(
                {
                    "game_id": one.game.game_id,
                    "trajectory_id": one.game.trajectory_id,
                    "kept": kept_string(mask, len(one.game.players)),
                    "value": math.exp(total / len(score.logprobs)),
                    "sum_log_p": total,
                    "target_tokens": len(score.logprobs),
                    "prompt_tokens": score.prompt_tokens,
                    "cached_tokens": score.cached_tokens,
                    "truncated": one.truncated,
                }
            )
    return rows


def _water_level(counts: Sequence[int], budget: int) -> int:
    """The largest cap with sum(min(count, cap)) <= budget, at least 8."""
    low, high = 8, max(counts, default=8)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(count, middle) for count in counts) <= budget:
            low = middle
        else:
            high = middle - 1
    return low


def _cut(text: str, share: float) -> str:
    keep = max(2, int(len(text) * share))
    return text[: (keep + 1) // 2] + ELLIPSIS + text[len(text) - keep // 2 :]
