"""The audit in plain words: a paragraph for a reader who has never seen the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WEAK, STRONG = 0.3, 0.6
"""Below the one a correlation is called weak, from the other on strong; moderate between."""
ENOUGH = 20
"""Replayed trajectories without which no verdict is given."""
QUOTED = 0.3
"""From this mean leak on, the reader is told what it does to credit."""
ADDS_UP = 1e-6
_ADVICE = {
    "weak": "take a single credit as a hint, and trust averages over many runs only",
    "moderate": "trust the credit on average, not in a single run",
    "strong": "the credit can be trusted to rank agents, though not to measure the size of an effect",
}

Row = Mapping[str, Any]


def paragraph(rows: Sequence[Row]) -> str:
    """Three to six sentences from the rows of `audit` of one run; figures that are missing are said to be.

    Of several kinds of game and methods it tells of the one compared on most agents (Shapley's before leave-one-out);
    the table has the others.
    """
    found = {(row["check"], row["metric"], row["scope"]): row for row in rows}
    compared = [row for row in rows if row["check"] == "fidelity" and row["metric"] == "spearman"]
    if not compared:
        return "There is no masked credit in this run, so nothing could be audited. Credit it first. Then audit again."
    main = max(compared, key=lambda row: (row["n"], row["scope"].endswith("shapley")))
    scope = main["scope"].rpartition(", ")[0]

    def figure(check: str, metric: str, of: str = scope) -> Row | None:
        row = found.get((check, metric, of))
        return row if row is not None and row["value"] is not None else None

    runs = figure("replay", "trajectories")
    if runs is None:
        said = [
            f"Whether the masked credit ({main['scope']}) is right was not tested: no run was continued without one of "
            "its agents, so take every credit as unverified."
        ]
    else:
        said = [
            _what_was_done(main, runs, figure("replay", "answering_agents_left_out")),
            _verdict(main, runs, figure("replay", "split_half")),
            _ceiling(
                main, figure("replay", "split_half"), figure("replay", "reliability"), figure("replay", "ceiling")
            ),
            _signs(
                figure("replay", "nonzero_share"),
                figure("replay", "commoner_sign"),
                figure("fidelity", "sign_agreement", main["scope"]),
                figure("fidelity", "order_share", main["scope"]),
            ),
        ]
    residuals = [r["value"] for r in rows if r["metric"] == "residual_max" and r["value"] is not None]
    said.append(_sums(residuals, figure("solver", "loo_spearman")))
    said.append(
        _mind(figure("games", "informative_share"), figure("games", "leak_mean"), figure("games", "truncated_share"))
    )
    return " ".join(sentence for sentence in said if sentence)


def _what_was_done(main: Row, runs: Row, left: Row | None) -> str:
    spared = "; the answering agent is left out where masking spares its answer" if left and left["value"] else ""
    return (
        f"To test the masked credit ({main['scope']}), {runs['value']:.0f} runs were continued afresh with and without "
        f"one of their agents ({main['n']} cases of an agent in a run{spared})."
    )


def _verdict(main: Row, runs: Row, half: Row | None) -> str:
    value, low, high = main["value"], main["ci_low"], main["ci_high"]
    if value is None:
        return f"Credit and replay could not be correlated ({main['note']}), so the credit stays unverified."
    what = f"The credit correlates with the effect of taking the agent out at {value:.2f}"
    if low is None:
        return f"{what} ({main['note']}), which is no basis for a verdict."
    what += f" (rank correlation, 95 % interval {low:.2f} to {high:.2f}; 1 is perfect, 0 is none)"
    if runs["value"] < ENOUGH:
        return f"{what}, but {runs['value']:.0f} runs are too few for a verdict (at least {ENOUGH} are asked for)."
    if high < 0:
        return f"{what}: it points the wrong way, so do not use it."
    if low <= 0:
        noisy = half is None or half["ci_low"] is None or half["ci_low"] <= 0
        cure = "and the replay itself is too noisy to tell; replay more" if noisy else "so do not rely on it"
        return f"{what}: agreement is not shown, since the interval holds 0, {cure}."
    word = "weak" if value < WEAK else "moderate" if value < STRONG else "strong"
    return f"{what}: {word} agreement (weak is below {WEAK}, strong from {STRONG}), so {_ADVICE[word]}."


def _ceiling(main: Row, half: Row | None, whole: Row | None, ceiling: Row | None) -> str:
    if half is None or whole is None or ceiling is None:
        return "How far the replay repeats itself could not be measured, so the best that is possible is unknown."
    if half["ci_low"] is not None and half["ci_low"] <= 0 < half["value"]:
        return (
            f"The replay is a sample too: its two halves correlate at {half['value']:.2f} "
            f"({half['ci_low']:.2f} to {half['ci_high']:.2f}), which may be noise alone, so no ceiling can be claimed: "
            "its effects differ too little from agent to agent, or it has too few samples."
        )
    if not ceiling["value"]:
        return f"Two halves of the replay do not agree with each other ({half['value']:.2f}): it shows noise alone."
    text = (
        f"The replay is a sample too: its two halves correlate at {half['value']:.2f} (all of it is then reliable to "
        f"{whole['value']:.2f}), so even the true effects would be expected to reach only about {ceiling['value']:.2f}"
    )
    if main["value"] is not None and main["value"] > 0:
        reached = main["value"] / ceiling["value"]
        return f"{text}, of which the credit reaches {f'{100 * reached:.0f} %' if reached < 1 else 'all'}."
    return f"{text}."


def _signs(nonzero: Row | None, commoner: Row | None, sign: Row | None, order: Row | None) -> str:
    if nonzero is None:
        return ""
    if sign is None or commoner is None:
        return (
            f"The replay shows an effect of {100 * nonzero['value']:.0f} % of the agents, so no sign could be compared."
        )
    text = (
        f"The replay shows an effect of {100 * nonzero['value']:.0f} % of the agents; there the credit has its sign in "
        f"{100 * sign['value']:.0f} % (always guessing the commoner sign: {100 * commoner['value']:.0f} %)"
    )
    if order is None:
        return f"{text}; no two agents of a run could be put in order."
    ranks = f"of two agents of a run it ranks the right one higher in {100 * order['value']:.0f} % (by chance: 50 %)"
    return f"{text}, and {ranks}."


def _sums(residuals: Sequence[float], loo: Row | None) -> str:
    if not residuals:
        return ""
    worst = max(residuals)
    text = (
        f"The credits of a run add up to what the team gained (to within {max(worst, 1e-16):.0e})"
        if worst <= ADDS_UP
        else f"Mind that the credits do not add up: some run is off by {worst:.2g}"
    )
    if loo is None:
        return f"{text}."
    return f"{text}; the cheaper leave-one-out credit correlates with the exact one at {loo['value']:.2f}."


def _mind(informative: Row | None, leak: Row | None, cut: Row | None) -> str:
    parts = []
    if informative is not None:
        others = "" if informative["value"] == 1 else ", the others say little"
        parts.append(f"in {100 * informative['value']:.0f} % of the runs some credit goes beyond 0.05{others}")
    if leak is not None:
        effect = ", so that credit goes to whoever said it last" if leak["value"] >= QUOTED else ""
        parts.append(
            f"of a run's most quoted message {100 * leak['value']:.0f} % still stand in a later one on average{effect}"
        )
    if cut is not None and cut["value"] > 0:
        parts.append(f"{100 * cut['value']:.1f} % of the contexts were cut to fit")
    return f"To be minded: {'; '.join(parts)}." if parts else "Leaks and cuts of the context were not recorded."
