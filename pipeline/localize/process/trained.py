"""A trained process score: a logistic head on what the frozen model holds in mind at the end of each step.

p(step is wrong) = sigmoid(w . z + b), z the hidden states of `reading` standardised on the training steps and turned
to their first `SIZE` principal directions. Steps up to the first wrong one are examples; what comes after an error is
neither right nor wrong and is left out. Each class weighs the same.

Status: source (linear probes: arXiv 1610.01644; a token classifier over steps: arXiv 2305.20050), ours for the frozen
model and the size. Degenerate: without both classes every step scores 0. Cost: seconds for thousands of steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.localize.case import Case
from pipeline.localize.floors import labelled_place

Floats = NDArray[np.float64]
SIZE = 64
L2 = 10.0


@dataclass(frozen=True)
class Head:
    """Fitted: `score(states) = states @ weights + bias`, in log-odds."""

    weights: Floats
    bias: float

    def score(self, states: Floats) -> Floats:
        """Log-odds that each step is wrong: (steps,)."""
        return np.asarray(states @ self.weights + self.bias)


def fit(cases: Sequence[Case], states: Mapping[str, Floats], l2: float = L2) -> Head:
    """The head that separates the first wrong steps from the right ones before them."""
    rows, labels = [], []
    width = 0
    for case in cases:
        width = states[case.case_id].shape[1]
        wrong = labelled_place(case)
        if wrong is None and not case.sound:
            continue
        until = len(case.steps) if wrong is None else wrong + 1
        rows.append(states[case.case_id][:until])
        labels += [place == wrong for place in range(until)]
    y = np.array(labels, dtype=float)
    if not rows or y.min() == y.max():
        return Head(np.zeros(width), 0.0)
    x = np.concatenate(rows)
    mean, spread = x.mean(0), x.std(0) + 1e-6
    z = (x - mean) / spread
    _, _, directions = np.linalg.svd(z, full_matrices=False)
    turn = directions[:SIZE].T
    weights, bias = _logistic(z @ turn / np.sqrt(width), y, l2)
    back = turn @ weights / np.sqrt(width) / spread
    return Head(back, float(bias - mean @ back))


def columns(score: Floats) -> Floats:
    """What a ranker sees of the scores of one solution: (steps, 5).

    The score, its rise over the step before, its distance from the mean, flags on the largest and on the first above 0.
    """
    if not len(score):
        return np.zeros((0, 5))
    before = np.concatenate([score[:1], score[:-1]])
    top = np.arange(len(score)) == int(score.argmax())
    first = np.zeros(len(score))
    if (score > 0).any():
        first[int((score > 0).argmax())] = 1.0
    return np.column_stack([score, score - before, score - score.mean(), top, first]).astype(float)


def _logistic(x: Floats, y: Floats, l2: float) -> tuple[Floats, float]:
    """Newton steps on the class-balanced logistic loss; the prior's precision `l2` is for columns of unit spread."""
    spread = np.sqrt((x**2).sum() / len(x) / x.shape[1])
    x = np.column_stack([x / spread, np.ones(len(x))])
    weight = np.where(y > 0, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    prior = np.append(np.full(x.shape[1] - 1, l2), 1e-9)
    beta = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        gradient = x.T @ (weight * (p - y)) + prior * beta
        hessian = x.T @ ((weight * p * (1 - p))[:, None] * x) + np.diag(prior)
        step = np.linalg.solve(hessian, gradient)
        beta = beta - step
        if np.abs(step).max() < 1e-6:
            break
    return beta[:-1] / spread, float(beta[-1])
