"""Proof that an engine holds a checkpoint's weights: fixed tokens, scored by it and by plain transformers."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.base import Engine, Score, ScoreRequest
from pipeline.errors import WorkError

TOKENS = 60
"""Length at which a sequence is cut: with the token that vLLM adds it fits into every context window."""
MEASURABLE = 1e-4
"""Nats a token: two checkpoints that differ by less everywhere are not told apart."""
_CERTAIN = 8.0
"""So many standard errors must lie between the old and the new weights before the engine is said to hold the old."""
_TEXTS = (
    "Question: Mara has 12 apples and buys 3 bags of 8 apples each. How many apples does she have now?\n"
    "Answer: 3 bags of 8 apples are 24 apples, and 12 + 24 = 36. The answer is 36.",
    "You are a careful assistant. You see the notes of two colleagues, who may be wrong. Say which of them you "
    "believe and why, then give the final answer in one short sentence.",
    "def mean(values: list[float]) -> float:\n    total = 0.0\n    for value in values:\n        total += value\n"
    "    return total / len(values)\n",
    "The river rises in the northern hills, passes two old market towns and reaches the sea near the lighthouse, "
    "where in 1874 a harbour was built for the fishing boats.",
)


@dataclass(frozen=True)
class Probe:
    """Fixed token sequences. Every token but the first of each is scored, given all before it."""

    ids: tuple[tuple[int, ...], ...]

    @property
    def requests(self) -> list[ScoreRequest]:
        """One request a sequence."""
        return [ScoreRequest(one[:1], one[1:]) for one in self.ids]


def probe(tokenizer: Any) -> Probe:
    """Four short texts of different kinds as `tokenizer` cuts them, at most `TOKENS` tokens each."""
    return Probe(tuple(tuple(ids[:TOKENS]) for ids in tokenizer(list(_TEXTS))["input_ids"]))


def trainer_logps(model: Path, fixed: Probe) -> list[list[float]]:
    """Log-probabilities (nats) of the probe's tokens by the checkpoint `model`, one list a sequence.

    Plain transformers in float32, one sequence at a time; the model is freed before this returns.
    """
    from pipeline.engines.reference import load, target_logprobs

    loaded = load(model)
    values = [target_logprobs(loaded, request) for request in fixed.requests]
    del loaded
    gc.collect()
    return values


def check(engine: Engine, model: Path, fixed: Probe, tolerance: float, before: Path | None = None) -> float:
    """The largest difference (nats a token) between `engine` and the checkpoint `model` on the probe.

    Raises WorkError when it is above `tolerance` or not a number. After a small update the old weights too may pass
    that: with `before`, the checkpoint that the engine held until then, it must also lie nearer to the new one than
    to the old one, wherever the two differ by more than `MEASURABLE` and by more than the engine's own rounding
    blurs (which float32 never does, and bfloat16 does after a small update).

    Cost: one forward pass of plain transformers over the probe, two with `before`.
    """
    new = _flat(trainer_logps(model, fixed))
    if not np.isfinite(new).all():
        raise WorkError(f"{model}: the checkpoint's own log-probabilities are not finite; its training has diverged")
    ours = _flat([score.logprobs for score in engine.score(fixed.requests)])
    worst = float(np.abs(ours - new).max())
    wrong = f"weights in vLLM are not those of {model}"
    cure = "nothing was sampled with them; start again"
    if not worst <= tolerance:
        raise WorkError(
            f"{wrong}: log-probabilities differ by {worst:.3g} nats a token (tolerance {tolerance:g}); {cure}"
        )
    if before is not None and _stale(ours, new, _flat(trainer_logps(before, fixed))):
        raise WorkError(f"{wrong}: log-probabilities are nearer to those of {before}, which it held before; {cure}")
    return worst


def check_moved(engine: Engine, model: Path, fixed: Probe, old: Sequence[Score]) -> None:
    """WorkError where the engine says of the probe exactly what it said before other weights were loaded.

    In bfloat16 a small update lies within the rounding that `check` allows; that nothing at all has changed does not.
    """
    now = engine.score(fixed.requests)
    if [score.logprobs for score in now] == [score.logprobs for score in old]:
        raise WorkError(
            f"the weights of {model} were loaded into the engine, and its log-probabilities stayed the same"
        )


def _stale(ours: NDArray[np.float64], new: NDArray[np.float64], old: NDArray[np.float64]) -> bool:
    """Whether `ours` lies nearer to `old` than to `new`, and rounding alone cannot have brought it there.

    Rounding of size s a token moves n tokens' position on the line from old to new by about s, whatever n; the two
    ends are |new - old| apart. Where that is many s, the nearer end is the right one.
    """
    step = np.abs(new - old)
    far, near = float(np.linalg.norm(ours - old)), float(np.linalg.norm(ours - new))
    rounding = min(far, near) / np.sqrt(len(ours))
    return bool(step.max() > MEASURABLE and np.linalg.norm(step) > _CERTAIN * rounding and far < near)


def _flat(values: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    return np.array([value for one in values for value in one], dtype=np.float64)
