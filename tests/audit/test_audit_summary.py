"""The paragraph: its figures are those of the rows, its words follow from stated thresholds."""

from __future__ import annotations

import re
from typing import Any

import pytest

from apportion.pipeline.audit.summary import paragraph

SCOPE = "likelihood"


def row(check: str, metric: str, value: float | None, scope: str = SCOPE, **more: Any) -> dict[str, Any]:
    return {
        "check": check, "metric": metric, "scope": scope, "value": value, "ci_low": None, "ci_high": None, "n": 150,
        "note": None,
    } | more  # fmt: skip


def rows(spearman: float = 0.45, low: float = 0.3, high: float = 0.58, runs: int = 50) -> list[dict[str, Any]]:
    method = f"{SCOPE}, shapley"
    return [
        row("fidelity", "spearman", spearman, method, ci_low=low, ci_high=high),
        row("fidelity", "spearman", 0.11, f"{SCOPE}, loo", ci_low=0.0, ci_high=0.2),
        row("fidelity", "sign_agreement", 0.81, method),
        row("fidelity", "order_share", 0.72, method),
        row("replay", "trajectories", float(runs)),
        row("replay", "nonzero_share", 0.63),
        row("replay", "commoner_sign", 0.77),
        row("replay", "split_half", 0.5, ci_low=0.3, ci_high=0.7),
        row("replay", "reliability", 0.67),
        row("replay", "ceiling", 0.82),
        row("replay", "answering_agents_left_out", 50.0),
        row("solver", "residual_max", 2e-16, f"{SCOPE}, exact"),
        row("solver", "loo_spearman", 0.93),
        row("games", "informative_share", 0.88),
        row("games", "leak_mean", 0.41),
        row("games", "truncated_share", 0.02),
    ]


def sentences(text: str) -> int:
    return len(re.findall(r"[.](?=\s+[A-Z]|$)", text))


def test_figures_are_told() -> None:
    text = paragraph(rows())
    for said in (
        "50 runs", "150 cases", "the answering agent is left out", "0.45", "0.30 to 0.58", "moderate agreement",
        "weak is below 0.3, strong from 0.6", "0.50", "0.67", "0.82", "55 %", "63 %", "81 %", "77 %", "72 %", "2e-16",
        "0.93", "88 %", "41 %", "2.0 %",
    ):  # fmt: skip
        assert said in text, said
    assert sentences(text) == 6
    assert "0.11" not in text


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ((0.2, 0.1, 0.29), "weak agreement"),
        ((0.6, 0.5, 0.7), "strong agreement"),
        ((0.2, -0.1, 0.4), "agreement is not shown, since the interval holds 0, so do not rely on it"),
        ((-0.4, -0.6, -0.2), "points the wrong way"),
        ((0.7, 0.5, 0.8, 19), "19 runs are too few for a verdict (at least 20 are asked for)"),
    ],
)
def test_verdict_follows_the_interval(figures: tuple[Any, ...], said: str) -> None:
    text = paragraph(rows(*figures))
    assert said in text
    assert 3 <= sentences(text) <= 6


def test_a_noisy_replay_is_no_evidence_against_the_credit() -> None:
    data = rows(0.1, -0.2, 0.3)
    for one in data:
        if one["metric"] == "split_half":
            one |= {"value": 0.0, "ci_low": -0.2, "ci_high": 0.2}
        if one["metric"] in ("reliability", "ceiling"):
            one["value"] = 0.0
    text = paragraph(data)
    assert "the replay itself is too noisy to tell" in text
    assert "shows noise alone" in text


def test_a_ceiling_that_may_be_noise_is_not_claimed() -> None:
    data = [one | {"value": 0.02, "ci_low": -0.18, "ci_high": 0.22} if one["metric"] == "split_half" else one
            for one in rows()]  # fmt: skip
    text = paragraph(data)
    assert "0.02 (-0.18 to 0.22)" in text
    assert "no ceiling can be claimed" in text
    assert "of which the credit reaches" not in text


def test_credit_beyond_the_ceiling_reaches_all_of_it() -> None:
    assert "of which the credit reaches all." in paragraph(rows(0.9, 0.8, 0.95))


def test_without_replays_the_credit_is_unverified() -> None:
    data = [one for one in rows() if one["check"] not in ("fidelity", "replay")]
    data.append(row("fidelity", "spearman", None, f"{SCOPE}, shapley", n=0, note="nothing was replayed"))
    text = paragraph(data)
    assert "take every credit as unverified" in text
    assert "88 %" in text
    assert sentences(text) == 3


def test_credits_that_do_not_add_up_are_told() -> None:
    data = [one | ({"value": 0.04} if one["metric"] == "residual_max" else {}) for one in rows()]
    assert "the credits do not add up: some run is off by 0.04" in paragraph(data)


def test_constant_columns_are_told() -> None:
    data = [
        one | ({"value": None, "ci_low": None, "note": "a side is constant"} if one["check"] == "fidelity" else {})
        for one in rows()
    ]
    assert "could not be correlated (a side is constant), so the credit stays unverified" in paragraph(data)
