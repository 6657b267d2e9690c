"""New weights for a running engine: loaded, and proved to be the checkpoint's before anything is asked of them."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.core.errors import WorkError
from apportion.pipeline.engines.base import Engine, ScoreRequest

TOKENS = 60
"""Length at which a sequence is cut: with the token that vLLM adds it fits into every context window."""
SLACK = 3.0
"""The engine's answers may differ from the checkpoint's by this multiple of its rounding on its first weights."""
EXACT = 1e-4
"""Nats per token (rms) that float32 arithmetic may differ by in another order of summation."""
COARSE = 0.2
"""Nats per token (rms) allowed where the engine's own rounding could not be measured."""
_CURE = "nothing was sampled with them; start again"
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
        """One request per sequence."""
        return [ScoreRequest(sequence[:1], sequence[1:]) for sequence in self.ids]


def probe(tokenizer: Any) -> Probe:
    """Four short texts of different kinds as `tokenizer` cuts them, at most `TOKENS` tokens each."""
    return Probe(tuple(tuple(ids[:TOKENS]) for ids in tokenizer(list(_TEXTS))["input_ids"]))


def prove_weights(engine: Engine, model: Path) -> None:
    """WorkError unless every weight that `engine` computes with is the checkpoint's, in the engine's dtype."""
    unequal = engine.unequal_weights(model)
    if unequal:
        more = f" and {len(unequal) - 1} more" if len(unequal) > 1 else ""
        raise WorkError(f"weights in vLLM are not those of {model}: {unequal[0]}{more}; {_CURE}")


def replace_weights(engine: Engine, model: Path, rounding: float | None, tolerance: float | None = None) -> None:
    """Load the checkpoint `model` into `engine`. Raises WorkError where it then is not what the engine computes with.

    The proof is the weights: compared number by number, exact in any dtype. What the engine says of a few fixed tokens
    is a second look, at what weights cannot show (a stale cache or graph): it may differ from plain transformers by
    `SLACK` times `rounding`, what `rounding_of` measured on weights known to be right, or by `tolerance` where given
    (nats per token, rms).

    Cost: `Engine.unequal_weights`, and one forward pass of plain transformers over 170 tokens.
    """
    engine.load_weights(model)
    prove_weights(engine, model)
    allowed = tolerance or (COARSE if rounding is None else max(EXACT, SLACK * rounding))
    found = rounding_of(engine, model)
    if not found <= allowed:
        raise WorkError(
            f"vLLM holds the weights of {model} and does not compute with them: log-probabilities differ by rms "
            f"{found:.3g} nats per token (at most {allowed:.3g} by rounding); {_CURE}"
        )


def rounding_of(engine: Engine, model: Path) -> float:
    """Root mean square difference (nats per token) between `engine` and plain transformers on the probe.

    transformers computes in float32 with the checkpoint's weights as the engine's dtype rounds them, so that what is
    left is the engine's arithmetic.
    """
    fixed = probe(engine.tokenizer)
    said = _flat([score.logprobs for score in engine.score(fixed.requests)])
    return float(np.sqrt(np.mean((said - _flat(reference_logps(model, fixed, engine.dtype))) ** 2)))


def reference_logps(model: Path, fixed: Probe, dtype: str = "float32") -> list[list[float]]:
    """Log-probabilities (nats) of the probe's tokens by the checkpoint `model`, one list per sequence.

    Plain transformers in float32, with weights rounded to `dtype`, one sequence at a time; freed before this returns.
    """
    from apportion.pipeline.engines.reference import load, target_logprobs

    loaded = load(model, dtype).float()
    values = [target_logprobs(loaded, request) for request in fixed.requests]
    del loaded
    gc.collect()
    return values


def _flat(values: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    return np.array([value for sequence in values for value in sequence], dtype=np.float64)
