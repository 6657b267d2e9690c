"""The prompts of a game's coalitions, cut by rule where a view is longer than the context window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.credit.prompt import ALWAYS, Prompt
from apportion.pipeline.games.game import Game
from apportion.pipeline.trajectory.render import NEUTRAL, encode, harmless, prompt_ids, prompt_text

CHUNK_CHARACTERS = 8_000_000
"""Prompt text held at once, to bound memory."""
ELLIPSIS = " [...] "


def kept_string(mask: int, players: int) -> str:
    """Bitmask to text: character i is 1 where player i is kept."""
    return "".join("1" if mask >> bit & 1 else "0" for bit in range(players))


def prompts(game: Game, masks: NDArray[np.int64], tokenizer: Any, reserve: int) -> tuple[list[tuple[int, ...]], float]:
    """Token ids of the coalitions' prompts, answer cue included, and the share of the view that did not fit.

    `reserve` tokens of the window are left for what follows. Raises ValueError where the fixed text alone is too long,
    or where a text forges a token of the template (ForgedRolesError).
    """
    room = (game.rules.window or 0) - reserve
    fitted, share = fit(game, tokenizer, room)
    ids = prompt_ids(tokenizer, [fitted.coalition(int(mask)) for mask in masks], game.rules.cue or "")
    if max(map(len, ids)) > room:
        raise ValueError(
            f"trajectory {game.trajectory_id}: {max(map(len, ids))} tokens of fixed text do not fit in a context "
            f"window of {game.rules.window}; raise model.max_model_len"
        )
    return ids, share


def fit(game: Game, tokenizer: Any, room: int) -> tuple[Game, float]:
    """The game with its longest messages cut in the middle until all of it fits in `room` tokens, and the share cut."""
    size = _size(game, tokenizer)
    if size <= room:
        return game, 0.0
    counts = [len(ids) for ids in encode(tokenizer, [m.text for m in game.view])]
    if not sum(counts):
        return game, 0.0  # nothing can be cut: `prompts` refuses it
    budget = room - (size - sum(counts))
    view = game.view
    for slack in (0, 16, 64, 256):  # cutting moves token borders; a second pass with some slack settles it
        cap = water_level(counts, budget - slack - 8 * len(counts), least=8)
        view = tuple(
            replace(m, text=_cut(m.text, cap / n)) if n > cap else m for m, n in zip(game.view, counts, strict=True)
        )
        if _size(replace(game, view=view), tokenizer) <= room:
            break
    kept = sum(len(ids) for ids in encode(tokenizer, [m.text for m in view]))
    return replace(game, view=view), max(1e-9, 1 - kept / sum(counts))


def chunks(games: Sequence[tuple[Game, int]]) -> Iterator[list[Game]]:
    """Games in order, with their numbers of coalitions, cut so that a chunk's prompt text stays within bounds."""
    chunk: list[Game] = []
    size = 0
    for game, coalitions in games:
        cost = coalitions * sum(len(m.text) for m in game.view)
        if chunk and size + cost > CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
        chunk.append(game)
        size += cost
    if chunk:
        yield chunk


def layout(game: Game, tokenizer: Any) -> Prompt:
    """What each part of a coalition's prompt costs in tokens, for plans that share as much of them as they can."""
    bit = {player: place for place, player in enumerate(game.players)}
    counts = [len(ids) for ids in encode(tokenizer, [message.text for message in game.view])]
    nobody = replace(game, view=tuple(message for message in game.view if message.owner is None))
    parts = [(bit[m.owner] if m.owner else ALWAYS, n) for m, n in zip(game.view, counts, strict=True)]
    fixed = _size(nobody, tokenizer) - sum(n for player, n in parts if player == ALWAYS)
    neutral = len(encode(tokenizer, [NEUTRAL])[0]) if game.rules.masking == "placeholder" else 0
    return Prompt(((ALWAYS, fixed), *parts), neutral)


def _size(game: Game, tokenizer: Any) -> int:
    """Tokens of the prompt with everybody in view."""
    cue = harmless(tokenizer, game.rules.cue or "")
    return len(encode(tokenizer, [prompt_text(tokenizer, game.coalition(game.full)) + cue])[0])


def water_level(counts: Sequence[int], budget: int, *, least: int) -> int:
    """The largest cap with sum(min(count, cap)) <= budget, at least `least`."""
    low, high = least, max([least, *counts])
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
