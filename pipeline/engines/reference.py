"""transformers, one prompt at a time: the slow reference that vLLM is checked against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from apportion.pipeline.engines.base import ScoreRequest


def load(model: Path, dtype: str = "float32") -> Any:
    """The checkpoint as a transformers model, ready for forward passes."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype), trust_remote_code=False).eval()


def target_logprobs(loaded: Any, request: ScoreRequest) -> list[float]:
    """Log-probabilities (nats) of the request's target tokens, by one forward pass of a transformers model."""
    import torch

    with torch.inference_mode():
        logits = loaded(torch.tensor([request.ids])).logits[0].float()
    logprobs = logits[len(request.prefix_ids) - 1 : -1].log_softmax(-1)
    values: list[float] = logprobs.gather(1, torch.tensor(request.target_ids)[:, None])[:, 0].tolist()
    return values
