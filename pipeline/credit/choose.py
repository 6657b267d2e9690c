"""Which estimator solves a game: by the name that was asked for, its players and what may be spent."""

from __future__ import annotations

from functools import lru_cache

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit import exact, loo, owen, permutation, quadrature
from apportion.pipeline.credit.base import Estimator
from apportion.pipeline.credit.prompt import Prompt

ESTIMATORS: dict[str, type[Estimator]] = {
    one.name: one for one in (exact.Exact, quadrature.Quadrature, permutation.Permutation, loo.LeaveOneOut, owen.Owen)
}
NAMES = ("auto", *ESTIMATORS)


def possible(name: str, unions: bool) -> tuple[str, ...]:
    """Names that the estimators have which `chosen` can return. Raises UserError for an unknown name."""
    if name not in NAMES:
        raise UserError(f"estimator {name!r} is unknown; choose one of {', '.join(NAMES)}")
    if name == "owen" or (name == "auto" and unions):
        return "owen", "owen_sampled"
    return ("exact", "quadrature") if name == "auto" else (name,)


@lru_cache(maxsize=1024)
def chosen(
    name: str, n: int, budget: int, unions: tuple[str, ...] | None, seed: int, prompt: Prompt | None = None
) -> Estimator:
    """The estimator called `name` for a game of n players, valuing at most `budget` coalitions.

    "auto": exact where all 2**n fit, else quadrature; with `unions` (players are messages, unions their agents) the
    Owen value, as "owen" does: exact where its coalitions fit, else sampled. "exact", "quadrature", "permutation" and
    "loo" take no notice of unions. `prompt` lets quadrature choose the coalitions that share most of their prompts.
    Equal answers are equal, so that games can be grouped by them. Raises UserError where nothing fits the budget.
    """
    possible(name, unions is not None)
    if n > permutation.MAX_PLAYERS:
        raise UserError(f"estimator {name!r}: {n} players, at most {permutation.MAX_PLAYERS}; merge players")
    if name == "auto":
        fits = n <= exact.MAX_PLAYERS and 1 << n <= budget
        name = "owen" if unions is not None else "exact" if fits else "quadrature"
    return ESTIMATORS[name].within(n, budget, seed, unions, prompt)


def within_tokens(
    tokens: int, prompt: Prompt, name: str, n: int, budget: int, unions: tuple[str, ...] | None, seed: int
) -> Estimator:
    """As `chosen`, with the most of at most `budget` coalitions whose prompts cost at most `tokens` together.

    Tokens are distinct ones: what prompts have in common at their beginning counts once. Raises UserError where not
    even the least plan is affordable.
    """
    possible(name, unions is not None)
    low, high = 0, budget
    while low < high:
        middle = (low + high + 1) // 2
        if _cost(prompt, name, n, middle, unions, seed) <= tokens:
            low = middle
        else:
            high = middle - 1
    if not _cost(prompt, name, n, low, unions, seed):
        raise UserError(
            f"estimator {name!r}: no plan for {n} players costs at most {tokens} tokens and {budget} coalitions; "
            "raise the budget"
        )
    return chosen(name, n, low, unions, seed, prompt)


def _cost(prompt: Prompt, name: str, n: int, budget: int, unions: tuple[str, ...] | None, seed: int) -> int:
    """Distinct tokens of the plan within `budget` coalitions; 0 where there is none."""
    try:
        return prompt.distinct(chosen(name, n, budget, unions, seed, prompt).coalitions(n))
    except UserError:
        return 0
