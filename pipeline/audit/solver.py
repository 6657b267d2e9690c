"""The solver and its games: do the credits add up, does the cheaper estimator agree, do the games say anything?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apportion.pipeline.audit.agreement import rank_correlation, spearman
from apportion.pipeline.audit.figures import Estimate, Figure, mean
from apportion.pipeline.audit.inputs import SHAPLEY
from apportion.pipeline.credit import exact, loo, permutation
from apportion.pipeline.credit.solve import batches, gather

SOLVER, GAMES, CREDIT = "solver", "games", "credit"
INFORMATIVE = 0.05
"""A game says something where a credit goes beyond this, up or down."""
SMALLEST = 4
"""Below so many players a single pair of permutations already asks for nearly all coalitions."""
SEEDS = 16
MOST_GAMES = 5000
"""Games of one size that the sampled solver is tried on."""


def solver(games: pl.DataFrame, credits: pl.DataFrame, coalitions: pl.DataFrame) -> Iterator[Figure]:
    """Figures of the check `solver`: leave-one-out and sampled Shapley against exact, and the residuals.

    `games` as of `inputs.masked_games`; `credits` and `coalitions` of the run.
    """
    scopes = games.select("game_id", "scope")
    rows = credits.join(scopes, on="game_id").sort("game_id", "player")
    for (scope, name), some in rows.filter("efficient").group_by(["scope", "estimator"], maintain_order=True):
        played = some["game_id"].n_unique()
        residual = some.select(pl.col("residual").abs().max()).item()
        worst = Estimate(residual, played, note="not stored" if residual is None else None)
        yield Figure(SOLVER, "residual_max", f"{scope}, {name}", worst)
    solved = rows.filter(pl.col("estimator") == "exact").unique(["game_id", "player"], maintain_order=True)
    for (scope,), some in solved.group_by(["scope"], maintain_order=True):
        rounded = some.with_columns(pl.col("credit", "loo").round(12))
        yield Figure(SOLVER, "loo_spearman", f"{scope}", rank_correlation(rounded, "loo", "credit"))
        gap = mean(some.with_columns(gap=(pl.col("loo") - pl.col("credit")).abs()), "gap", "no credits")
        yield Figure(SOLVER, "loo_mean_difference", f"{scope}", gap)
        values = coalitions.join(some.select("game_id").unique(maintain_order=True), on="game_id", how="semi")
        yield from sampled(values.unique(["game_id", "kept"], maintain_order=True), f"{scope}")


def sampled(coalitions: pl.DataFrame, scope: str) -> Iterator[Figure]:
    """Permutation sampling on games whose every coalition is known, with half of the coalitions: its error.

    Beside it leave-one-out on the same games, which values n + 1 coalitions whatever the budget. Means over 16 seeds.
    `coalitions`: whole power sets, of one kind of game. Games of fewer than 4 players are left aside.
    """
    values = coalitions.filter(pl.col("kept").str.len_bytes() >= SMALLEST)
    if not len(values):
        none = Estimate(None, note=f"no exact games of {SMALLEST} or more players")
        for metric in ("sampled_spearman", "sampled_mean_difference"):
            yield Figure(SOLVER, metric, scope, none)
        return
    for batch in batches(values.select("game_id", "kept", "value", "stderr")):
        n = batch.n
        every = np.arange(1 << n, dtype=np.int64)
        value_GS = gather(batch, every)[0][:MOST_GAMES]
        truth = value_GS @ exact.weights(n)
        budget = max(len(every) // 2, permutation.plan(n, 1, 0).budget)
        weights = [_weights(n, budget, seed) for seed in range(SEEDS)]
        guesses = [value_GS @ one for one in weights]
        named = f"{scope}, {n} players"
        note = f"{budget} of {len(every)} coalitions"
        agreed = _mean([_correlation(guess, truth) for guess in guesses], truth.size, note)
        yield Figure(SOLVER, "sampled_spearman", named, agreed)
        gaps = _mean([float(np.abs(guess - truth).mean()) for guess in guesses], truth.size, note)
        yield Figure(SOLVER, "sampled_mean_difference", named, gaps)
        gap = float(np.abs(loo.leave_one_out(value_GS) - truth).mean())
        spent = Estimate(gap, truth.size, note=f"{n + 1} of {len(every)} coalitions")
        yield Figure(SOLVER, "loo_mean_difference", named, spent)


def _weights(n: int, budget: int, seed: int) -> NDArray[np.float64]:
    """A sampled plan's weights over the whole power set, shape (2**n, n)."""
    plan = permutation.plan_within(n, budget, seed)
    spread = np.zeros((1 << n, n))
    spread[plan.masks] = permutation.weights(plan)
    return spread


def _correlation(guess: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    flat = np.round(guess.ravel(), 12), np.round(truth.ravel(), 12)
    return float(spearman(*flat, np.ones((1, truth.size)))[0])


def _mean(found: list[float], n: int, note: str) -> Estimate:
    """Mean over seeds; undefined where any of them is."""
    value = float(np.mean(found))
    return Estimate(None, n, note="the credits are constant") if np.isnan(value) else Estimate(value, n, note=note)


def games_say(games: pl.DataFrame, masked: pl.DataFrame, coalitions: pl.DataFrame) -> Iterator[Figure]:
    """Figures of the check `games`: share that is informative, leak of masked text, contexts that were cut.

    `masked`: credits as of `inputs.masked_credits`.
    """
    for (scope,), some in games.sort("scope").group_by(["scope"], maintain_order=True):
        scope = str(scope)
        largest = (
            _preferred(masked, scope)
            .group_by("trajectory_id", "game_id", maintain_order=True)
            .agg(informative=pl.col("credit").abs().max() > INFORMATIVE)
        )
        informative = mean(largest, "informative", "no credits")
        yield Figure(GAMES, "informative_share", scope, informative)
        leaks = {"leak_mean": pl.col("leak"), "leak_above_half": pl.col("leak") > 0.5}
        for metric, column in leaks.items():
            found = mean(some.with_columns(found=column), "found", "no masked text: no leak measured")
            yield Figure(GAMES, metric, scope, found)
        cut = coalitions.join(some.select("game_id"), on="game_id", how="semi").drop_nulls("truncated")
        share = mean(cut, "truncated", "not recorded")
        yield Figure(GAMES, "truncated_share", scope, share)


def credit_by_role(masked: pl.DataFrame) -> Iterator[Figure]:
    """Figures of the check `credit`: the mean credit of each role, leave-one-out where Shapley's was not solved."""
    for scope in masked["scope"].unique().sort():
        some = _preferred(masked, scope).with_columns(pl.col("role").fill_null("no role"))
        for (role,), rows in some.sort("role").group_by(["role"], maintain_order=True):
            yield Figure(CREDIT, "mean_credit", f"{scope}, {role}", mean(rows, "credit", "no credits"))


def _preferred(masked: pl.DataFrame, scope: str) -> pl.DataFrame:
    """The credits of one kind of game: Shapley's of a game where there are any, else leave-one-out."""
    some = masked.filter(pl.col("scope") == scope)
    best = pl.col("method") == SHAPLEY
    return some.filter(best | ~best.any().over("game_id"))
