"""Values that are success shares of samples: how they are drawn, the row of `coalitions`, and how sure it is."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.games.game import Game


def drawn(config: Config, samples: int) -> dict[str, Any]:
    """What `Rules` holds of the samples behind a value."""
    decoding = config.sample.model_dump(include={"temperature", "top_p", "top_k", "max_tokens"})
    return {"k": samples, "decoding": json.dumps(decoding, sort_keys=True), "seed": config.run.seed}


def share_row(game: Game, kept: str, verdicts: Sequence[bool], **more: Any) -> dict[str, Any]:
    """v = successes / k with its standard error, from at least one verdict."""
    won = sum(verdicts)
    return {
        "game_id": game.game_id,
        "trajectory_id": game.trajectory_id,
        "kept": kept,
        "value": won / len(verdicts),
        "successes": float(won),
        "k": len(verdicts),
        "stderr": stderr(won, len(verdicts)),
        **more,
    }


def stderr(successes: int, k: int) -> float:
    """Standard deviation of a success share after `successes` of `k`, under Jeffreys' prior Beta(1/2, 1/2).

    sqrt(a b / ((a + b)^2 (a + b + 1))), a = successes + 1/2, b = k - successes + 1/2. Status: ours (the choice of it).
    The plain sqrt(v (1 - v) / k) would call 4 of 4 certain.
    """
    a, b = successes + 0.5, k - successes + 0.5
    return math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
