"""The small protocol behind which a language model stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Progress = Callable[[int], None]
"""Called with the number of requests that have just been finished."""


@dataclass(frozen=True)
class SampleRequest:
    """One continuation to sample. `temperature` 0 is greedy; `top_k` 0 keeps the whole vocabulary."""

    prompt_ids: tuple[int, ...]
    max_tokens: int
    seed: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0


@dataclass(frozen=True)
class Sample:
    """What came back: `logprobs` are the sampler's own, one per token of `token_ids` (nats)."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str
    cached_tokens: int


@dataclass(frozen=True)
class ScoreRequest:
    """Read log p(target | prefix) by teacher forcing."""

    prefix_ids: tuple[int, ...]
    target_ids: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        return self.prefix_ids + self.target_ids


@dataclass(frozen=True)
class Score:
    """`logprobs`: one per target token (nats). `cached_tokens` of `prompt_tokens` came from the cache."""

    logprobs: tuple[float, ...]
    prompt_tokens: int
    cached_tokens: int


class Engine(Protocol):
    """Sampling and scoring with one model."""

    tokenizer: Any
    max_model_len: int
    dtype: str
    """Arithmetic, by torch's name: float32, bfloat16, ..."""
    fingerprint: str
    """Names weights, tokenizer and dtype: whatever changes the numbers."""

    def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        """One continuation per request, in order."""
        ...

    def score(self, requests: Sequence[ScoreRequest], progress: Progress | None = None) -> list[Score]:
        """Log-probabilities of every request's target tokens, in order."""
        ...

    def reset_prefix_cache(self) -> None:
        """Forget cached prefixes, so that a shard starts as it would in a fresh process."""
        ...

    def load_weights(self, model: Path) -> None:
        """Put the weights of the checkpoint folder `model` in the place of the engine's own.

        The tokenizer stays, cached prefixes are forgotten, `fingerprint` names the new weights. Raises UserError, and
        leaves the engine as it was, when the folder is no checkpoint or one of another architecture. That the right
        weights are there is for `apportion.pipeline.engines.sync` to prove.
        """
        ...

    def unequal_weights(self, model: Path) -> list[str]:
        """Names of the tensors that the engine computes with and that are not the checkpoint's, rounded to `dtype`."""
        ...


@dataclass(frozen=True)
class Voice:
    """What an agent speaks with: the engine of its policy, and the policy's id."""

    policy_id: str
    engine: Engine


def engines_of(voices: Iterable[Voice]) -> list[Engine]:
    """The engines of some voices, each once."""
    return list({id(voice.engine): voice.engine for voice in voices}.values())


def reset(voices: Mapping[str, Voice]) -> None:
    """Empty the caches of all engines of some voices."""
    for engine in engines_of(voices.values()):
        engine.reset_prefix_cache()
