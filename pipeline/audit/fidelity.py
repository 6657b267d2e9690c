"""Fidelity: masked credit against the replayed effect of taking one agent out, and how far the replay can be believed.

The two share no sample: a masked credit is read off the recorded run, the replay samples its continuations afresh.
Only ranks, signs and orders are compared, since a likelihood and a success share have different units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt

import polars as pl

from apportion.pipeline.audit.agreement import commoner_sign, order_share, rank_correlation, sign_agreement
from apportion.pipeline.audit.figures import Estimate, Figure, mean
from apportion.pipeline.audit.inputs import LOO, SHAPLEY, halves

FIDELITY, REPLAY = "fidelity", "replay"
NOT_REPLAYED = "nothing was replayed"


def fidelity(
    credits: pl.DataFrame, replays: pl.DataFrame, trajectories: pl.DataFrame, answerers: pl.DataFrame
) -> list[Figure]:
    """Figures of the checks `fidelity` (scope: kind of game and method) and `replay` (scope: kind of game).

    `credits`, `replays` as `inputs` makes them. `answerers`: trajectory_id and agent of each answering message. Where
    the answer is the outcome channel of the masked game, the answering agent is left out: masking spares its answer,
    while a replay without it has no answer at all.
    """
    found: list[Figure] = []
    for scope in credits["scope"].unique(maintain_order=True).sort():
        of_scope = credits.filter(pl.col("scope") == scope)
        compared = replays.join(
            of_scope.select("trajectory_id", "player", "answerer").unique(), on=["trajectory_id", "player"]
        )
        speaks = compared.join(
            answerers.select("trajectory_id", player="agent").unique(), on=["trajectory_id", "player"], how="semi"
        ).filter(pl.col("answerer") == "outcome")
        compared = compared.join(speaks, on=["trajectory_id", "player"], how="anti").drop("answerer")
        for method in (SHAPLEY, LOO):
            masked = of_scope.filter(pl.col("method") == method)
            if len(masked):
                pairs = compared.join(
                    masked.select("trajectory_id", "player", "credit"), on=["trajectory_id", "player"]
                )
                found += agreement(pairs, f"{scope}, {method}")
        found += reliability(compared, halves(compared, trajectories), scope)
        left = Estimate(float(len(speaks)), len(speaks) + len(compared), note="their answer is not masked")
        found.append(Figure(REPLAY, "answering_agents_left_out", scope, left))
    return found


def agreement(pairs: pl.DataFrame, scope: str) -> Iterator[Figure]:
    """Spearman, sign agreement and order share of `credit` against `difference`, over rows of trajectory and player."""
    figures = {
        "spearman": rank_correlation(pairs, "credit", "difference"),
        "sign_agreement": sign_agreement(pairs, "credit", "difference"),
        "order_share": order_share(pairs, "credit", "difference"),
    }
    for metric, one in figures.items():
        yield Figure(FIDELITY, metric, scope, one if len(pairs) else Estimate(None, note=NOT_REPLAYED))


def reliability(compared: pl.DataFrame, sides: pl.DataFrame, scope: str) -> Iterator[Figure]:
    """What the replayed differences hold, and how far they repeat themselves.

    split_half: Spearman's r between the differences from even and from odd rollouts, each half as long as the replay.
    reliability: 2 r / (1 + r), stepped up to the full length (Spearman 1910, Brown 1910; exact for Pearson's r of
    parallel halves). ceiling: its square root, the correlation with the replay that the true effects themselves would
    have (classical test theory): no estimator is expected above it. Status: source; ours that r < 0 counts as 0.
    """
    n, runs = len(compared), compared["trajectory_id"].n_unique()
    if not n:
        for metric in ("trajectories", "nonzero_share", "commoner_sign", "split_half", "reliability", "ceiling"):
            yield Figure(REPLAY, metric, scope, Estimate(None, note=NOT_REPLAYED))
        return
    yield Figure(REPLAY, "trajectories", scope, Estimate(float(runs), n, note="replayed and credited"))
    nonzero = mean(compared.with_columns(nonzero=pl.col("difference") != 0), "nonzero", NOT_REPLAYED)
    yield Figure(REPLAY, "nonzero_share", scope, nonzero)
    yield Figure(REPLAY, "commoner_sign", scope, commoner_sign(compared, "difference"))
    half = rank_correlation(sides, "even", "odd")
    if not len(sides):
        half = Estimate(None, note="no rollouts for two halves of each arm")
    whole = _mapped(half, lambda r: 2 * max(r, 0.0) / (1 + max(r, 0.0)), "Spearman-Brown of split_half")
    yield Figure(REPLAY, "split_half", scope, half)
    yield Figure(REPLAY, "reliability", scope, whole)
    yield Figure(REPLAY, "ceiling", scope, _mapped(whole, sqrt, "root of reliability"))


def _mapped(one: Estimate, rising: Callable[[float], float], note: str) -> Estimate:
    """A rising function of a figure; its interval is that of the ends."""
    if one.value is None:
        return one
    low, high = (None if end is None else rising(end) for end in (one.low, one.high))
    return Estimate(rising(one.value), one.n, low, high, f"{note}; {one.note}" if one.note else note)
