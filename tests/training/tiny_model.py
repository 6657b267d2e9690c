"""What the training tests compute by hand: plain log-probabilities and gradients of a tiny model."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import torch

from apportion.pipeline.training.common import Recorder

VOCABULARY = 64
TEMPERATURE = 0.7


def tokens(rng: random.Random, count: int) -> list[int]:
    """Random tokens, none of them special."""
    return [rng.randrange(4, VOCABULARY) for _ in range(count)]


def logps_of(model: Any, prompt: list[int], completion: list[int], temperature: float) -> torch.Tensor:
    """Log-probabilities of a completion by one plain forward pass, shape (T,)."""
    logits = model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
    return (logits / temperature).log_softmax(-1)[torch.arange(len(completion)), torch.tensor(completion)]


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """A copy of every parameter's gradient; zero where there is none."""
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for name, p in model.named_parameters()
    }


def furthest(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Largest relative difference of any parameter's gradient, in norm."""
    assert found.keys() == expected.keys()
    return max(float((found[n] - g).norm() / g.norm().clamp(min=1e-8)) for n, g in expected.items())


@dataclass
class Spy(Recorder):
    """Also keeps the weights and the gradients of every optimizer step."""

    weights: list[dict[str, torch.Tensor]] = field(default_factory=list)
    seen: list[dict[str, torch.Tensor]] = field(default_factory=list)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.weights.append({name: value.detach().clone() for name, value in model.state_dict().items()})
        self.seen.append(gradients(model))
