"""What the coalitions of a game cost as prompts: tokens, with a shared beginning counted once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALWAYS = -1


@dataclass(frozen=True)
class Prompt:
    """The prompt of a coalition: segments in order, each kept or replaced by the placeholder with its player.

    segments: (player, tokens); the player is `ALWAYS` where a segment is never masked, as the task and the cue.
    placeholder: tokens that stand for a masked segment.
    """

    segments: tuple[tuple[int, int], ...]
    placeholder: int = 6

    def lengths(self, masks_M: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of each segment, shape (M, segments)."""
        owner = np.array([player for player, _ in self.segments], dtype=np.int64)
        tokens = np.array([count for _, count in self.segments], dtype=np.int64)
        kept = (masks_M[:, None] >> np.maximum(owner, 0)) & 1
        return np.where((owner == ALWAYS) | (kept == 1), tokens, self.placeholder)

    def shared(self, mask: int, masks_M: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of leading segments that the prompt of `mask` has in common with each other one, shape (M,)."""
        count: NDArray[np.int64] = (((masks_M ^ mask)[:, None] & self._seen()) == 0).sum(axis=1)
        return count

    def distinct(self, masks_M: NDArray[np.int64]) -> int:
        """Tokens that these coalitions cost together where no prefix is computed twice: nodes of their trie."""
        total = 0
        for segment, seen in enumerate(self._seen()):
            total += int(self.lengths(np.unique(masks_M & seen))[:, segment].sum())
        return total

    def _seen(self) -> NDArray[np.int64]:
        """The players that have a segment up to each one, as bitmasks, shape (segments,)."""
        bits = [0 if player == ALWAYS else 1 << player for player, _ in self.segments]
        return np.bitwise_or.accumulate(np.array(bits, dtype=np.int64))
