"""Message credit from agent credit: helpfulness shares, redundancy and leaks between texts."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apportion.pipeline.core.errors import UserError
from apportion.schemas import TABLES

NGRAM = 3
# Scripts written without spaces: every character counts as a word, or a whole sentence would be one.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")

MESSAGE_CREDIT_SCHEMA = TABLES["message_credits"].frame_schema(
    "game_id", "trajectory_id", "message_index", "agent", "credit", "helpfulness", "redundancy", "estimator"
)


def message_credits(messages: pl.DataFrame, credits: pl.DataFrame, kappa: float = 1.0) -> pl.DataFrame:
    """Share each agent's credit phi_i among its n_i messages, columns as in `MESSAGE_CREDIT_SCHEMA`.

    q_k = l_k (1 - d_k) if l_k > 0 else l_k, then r_k = phi_i / n_i + kappa |phi_i| / n_i (q_k - mean q):
    redundancy discounts praise, never harm, and the sum over an agent's messages is phi_i exactly.
    Status: ours. The plainer phi_i w_k with w >= 0 would punish the best message most where phi_i < 0.

    `messages`: game_id, trajectory_id, message_index, agent, and optionally helpfulness l in [-1, 1] and
    redundancy d in [0, 1]; exactly the messages that the players answer for, so leave out an outcome turn
    that is no player. `credits`: game_id, player (an agent), estimator, credit. One row comes out per message
    and estimator.
    Degenerate: no helpfulness at all gives phi_i / n_i; a message without it among others that have it counts
    as average; no redundancy counts as 0; an agent that is no player has credit null (and estimator null).
    Bound: |r_k| <= (1 + 2 kappa) |phi_i| / n_i. Raises UserError for values out of range, two credits of one
    agent, one game and one estimator, or a credit other than 0 of an agent without messages.
    """
    if not (np.isfinite(kappa) and kappa >= 0):
        raise UserError(f"kappa = {kappa}: give a finite number of at least 0 (1 by default)")
    rows = _checked_messages(messages)
    phi = credits.select(
        pl.col("game_id").cast(pl.String),
        pl.col("player").cast(pl.String).alias("agent"),
        pl.col("estimator").cast(pl.String),
        pl.col("credit").cast(pl.Float64).alias("phi"),
    ).join(rows.select("game_id").unique(), on="game_id", how="semi")
    _check_credits(phi, rows)
    praise, repeated = pl.col("helpfulness"), pl.col("redundancy").fill_null(0.0)
    quality = pl.when(praise > 0).then(praise * (1 - repeated)).otherwise(praise)
    group = ["game_id", "estimator", "agent"]
    share = pl.col("phi") / pl.len().over(group)
    deviation = (pl.col("quality") - pl.col("quality").mean().over(group)).fill_null(0.0)
    return (
        rows.join(phi, on=["game_id", "agent"], how="left", maintain_order="left_right")
        .with_columns(quality=quality)
        .with_columns(credit=share + kappa * share.abs() * deviation)
        .select(pl.col(name).cast(dtype) for name, dtype in MESSAGE_CREDIT_SCHEMA.items())
    )


def _checked_messages(messages: pl.DataFrame) -> pl.DataFrame:
    """The columns used, in their types, absent ones as null. Raises UserError for values out of range."""
    optional = {"helpfulness": -1.0, "redundancy": 0.0}
    absent = [pl.lit(None, dtype=pl.Float64).alias(name) for name in optional if name not in messages.columns]
    names = ["game_id", "trajectory_id", "message_index", "agent", *optional]
    rows = messages.with_columns(absent).select(pl.col(name).cast(MESSAGE_CREDIT_SCHEMA[name]) for name in names)
    for name, low in optional.items():
        bad = rows.filter(~pl.col(name).is_between(low, 1.0))
        if len(bad):
            first = bad.row(0, named=True)
            raise UserError(
                f"trajectory {first['trajectory_id']}, message {first['message_index']}: "
                f"{name} = {first[name]}; it must be between {low:g} and 1, or null"
            )
    return rows


def _check_credits(phi: pl.DataFrame, rows: pl.DataFrame) -> None:
    """Raise UserError where a credit would be shared out twice, or to no one."""
    double = phi.filter(pl.struct("game_id", "estimator", "agent").is_duplicated())
    if len(double):
        first = double.row(0, named=True)
        raise UserError(
            f"game {first['game_id']}: two {first['estimator']} credits of agent {first['agent']!r}; keep one"
        )
    lost = phi.filter(pl.col("phi") != 0).join(rows, on=["game_id", "agent"], how="anti")
    if len(lost):
        first = lost.row(0, named=True)
        raise UserError(
            f"game {first['game_id']}: agent {first['agent']!r} has credit {first['phi']:g} and no message "
            "to carry it; add its messages"
        )


def words(text: str) -> list[str]:
    """Words of a text for comparing texts: case-folded, punctuation dropped, one per CJK character."""
    return _WORD.findall(text.casefold())


def redundancy(texts: Sequence[str], views: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """d_k in [0, 1] for each message of a trajectory: its largest similarity to earlier messages in view.

    Similarity is the share of message k's distinct word trigrams (the whole text where shorter) that the
    earlier message holds. `views[k]`: indices into `texts`, all below k. Status: ours.
    Degenerate: nothing in view, or no words, gives 0. Cost: one set intersection per pair in view.
    Raises ValueError where a view reaches to k or beyond.
    """
    tokens = [words(text) for text in texts]
    grams = [_ngrams(token, NGRAM) for token in tokens]
    result = np.zeros(len(texts))
    for k, view in enumerate(views):
        if any(not 0 <= j < k for j in view):
            raise ValueError(f"message {k}: its view {list(view)} must lie in 0..{k - 1}")
        width = min(NGRAM, len(tokens[k]))
        if not width:
            continue
        own = grams[k]
        for j in view:
            other = grams[j] if width == NGRAM and len(tokens[j]) >= NGRAM else _ngrams(tokens[j], width)
            result[k] = max(result[k], len(own & other) / len(own))
    return result


def _ngrams(tokens: list[str], n: int) -> set[tuple[str, ...]]:
    """Distinct runs of min(n, number of tokens) consecutive words."""
    width = min(n, len(tokens))
    return {tuple(tokens[i : i + width]) for i in range(len(tokens) - width + 1)} if width else set()


def leak(removed_text: str, later_texts: Sequence[str]) -> float:
    """How much of a masked message still stands in later kept ones, in [0, 1].

    The longest run of consecutive words of `removed_text` found inside one of `later_texts`, as a share of
    its words; 1: quoted whole, 0: no word in common. A single common word counts: short messages read high.
    Degenerate: no words, or nothing later, gives 0. Cost: one text search per word of the message.
    """
    tokens = words(removed_text)
    # A line break parts the texts, and spaces the words, so that no match crosses either.
    later = "\n".join(f" {' '.join(words(text))} " for text in later_texts)
    best = 0
    for start in range(len(tokens)):
        while start + best < len(tokens) and f" {' '.join(tokens[start : start + best + 1])} " in later:
            best += 1
    return best / len(tokens) if tokens else 0.0
