"""Solving tables of games: coalition rows in, credit rows out, every game of the same size at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.credit import exact, loo
from apportion.pipeline.credit.base import Estimator
from apportion.pipeline.credit.permutation import MAX_PLAYERS

REQUIRED = ("game_id", "kept", "value", "stderr")
CREDIT_SCHEMA = pl.Schema(
    {
        "game_id": pl.String,
        "player_index": pl.Int32,
        "credit": pl.Float64,
        "loo": pl.Float64,
        "stderr": pl.Float64,
        "stderr_source": pl.String,
        "ci_low": pl.Float64,
        "ci_high": pl.Float64,
        "evaluations": pl.Int64,
        "v_full": pl.Float64,
        "v_empty": pl.Float64,
        "residual": pl.Float64,
        "efficient": pl.Boolean,
        "estimator": pl.String,
    }
)


def kept_of(mask: int, n: int) -> str:
    """Text form of a coalition: character i is '1' where player i is kept."""
    return format(mask, f"0{n}b")[::-1] if n else ""


def mask_of(kept: str) -> int:
    """Bitmask of a coalition's text form. Raises ValueError for other characters than 0 and 1."""
    if kept.strip("01"):
        raise ValueError(f"{kept!r} is no coalition: only 0 and 1 are allowed")
    return int(kept[::-1], 2) if kept else 0


def masks_of(kept: pl.Series, n: int) -> NDArray[np.int64]:
    """`mask_of` for a column of strings of length n <= 62, shape (R,); -1 where one is not of 0 and 1."""
    if n == 0:
        return np.zeros(len(kept), dtype=np.int64)
    codes = kept.str.to_integer(base=2, strict=False)
    signed = kept.str.starts_with("+") | kept.str.starts_with("-")
    bad = (codes.is_null() | signed).to_numpy()
    code_R = codes.fill_null(0).to_numpy()
    mask_R = _reversed_bits(np.arange(1 << n), n)[code_R] if n <= 16 else _reversed_bits(code_R, n)
    return np.where(bad, -1, mask_R) if bad.any() else mask_R


def _reversed_bits(codes: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """The first character of a numeral is its highest bit, but player 0 is the lowest."""
    result = np.zeros_like(codes)
    for i in range(n):
        result |= ((codes >> (n - 1 - i)) & 1) << i
    return result


@dataclass(frozen=True, eq=False)
class Batch:
    """Coalition rows of all games of n players, arrays of shape (R,).

    game: index into game_ids. mask: coalition. value, stderr: stderr is NaN where it is null.
    """

    n: int
    game_ids: pl.Series
    game: NDArray[np.int64]
    mask: NDArray[np.int64]
    value: NDArray[np.float64]
    stderr: NDArray[np.float64]


def batches(coalitions: pl.DataFrame) -> Iterator[Batch]:
    """Games by number of players; games in order of first appearance inside a batch.

    `coalitions` has game_id, kept, value and stderr (nullable). Raises UserError, naming the game, for a null
    or non-finite value, a negative or non-finite stderr, a `kept` not of 0 and 1 or of varying length.
    """
    missing = [column for column in REQUIRED if column not in coalitions.columns]
    if missing:
        raise UserError(f"coalitions: column {missing[0]!r} is missing; needed are {', '.join(REQUIRED)}")
    rows = coalitions.select(pl.col("game_id", "kept").cast(pl.String), pl.col("value", "stderr").cast(pl.Float64))
    _refuse_bad_values(rows)
    game_ids, game_R = _game_index(rows["game_id"])
    length_R = rows["kept"].str.len_bytes().to_numpy()
    n_G = np.zeros(len(game_ids), dtype=np.int64)
    n_G[game_R] = length_R
    if (uneven := n_G[game_R] != length_R).any():
        raise UserError(f"game {game_ids[int(game_R[uneven.argmax()])]}: its 'kept' strings differ in length")
    sizes = np.unique(n_G).tolist()
    if sizes and sizes[-1] > MAX_PLAYERS:
        game = game_ids[int(n_G.argmax())]
        raise UserError(f"game {game}: {sizes[-1]} players, at most {MAX_PLAYERS}; merge players")
    for n in sizes:
        yield _batch(n, rows, game_ids, game_R, n_G)


def _batch(n: int, rows: pl.DataFrame, game_ids: pl.Series, game_R: NDArray[np.int64], n_G: NDArray[np.int64]) -> Batch:
    chosen_G = n_G == n
    if not chosen_G.all():
        chosen_R = chosen_G[game_R]
        rows, game_ids = rows.filter(pl.Series(chosen_R)), game_ids.filter(pl.Series(chosen_G))
        game_R = (np.cumsum(chosen_G) - 1)[game_R[chosen_R]]
    mask_R = masks_of(rows["kept"], n)
    if (bad := mask_R < 0).any():
        row = int(bad.argmax())
        raise UserError(f"game {game_ids[int(game_R[row])]}: kept = {rows['kept'][row]!r}; only 0 and 1 are allowed")
    stderr_R = rows["stderr"].fill_null(float("nan")).to_numpy()
    return Batch(n, game_ids, game_R, mask_R, rows["value"].to_numpy(), stderr_R)


def _refuse_bad_values(rows: pl.DataFrame) -> None:
    checks = {
        "a coalition without game_id": pl.col("game_id").is_null(),
        "a coalition without 'kept'": pl.col("kept").is_null(),
        "a value that is null or not finite": ~pl.col("value").is_finite().fill_null(False),
        "a stderr that is negative or not finite": ~((pl.col("stderr") >= 0) & pl.col("stderr").is_finite()),
    }
    found = rows.select(**{problem: check.any() for problem, check in checks.items()}).row(0, named=True)
    for problem, is_bad in found.items():
        if is_bad:
            game = rows.filter(checks[problem])["game_id"][0]
            raise UserError(f"game {game}: {problem}; value it again or leave the game out")


def _game_index(game_id: pl.Series) -> tuple[pl.Series, NDArray[np.int64]]:
    """Distinct ids in order of first appearance, and each row's index into them. Fast on grouped rows."""
    run_R = game_id.rle_id().to_numpy().astype(np.int64)
    starts = np.flatnonzero(np.diff(run_R, prepend=-1))
    runs = pl.DataFrame({"game_id": game_id.gather(starts)})
    ids = runs.unique(maintain_order=True)
    if len(ids) == len(runs):
        return ids["game_id"], run_R
    index = runs.join(ids.with_row_index("game"), on="game_id", how="left", maintain_order="left")["game"]
    return ids["game_id"], index.to_numpy().astype(np.int64)[run_R]


def gather(
    batch: Batch, masks_M: NDArray[np.int64], optional: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values and standard errors on the coalitions `masks_M`, two arrays of shape (G, M), NaN where absent.

    Rows of other coalitions are left aside. The last `optional` of the masks may be absent.
    Raises UserError, naming the game, where another one is absent or any one is there twice.
    """
    games, width = len(batch.game_ids), len(masks_M)
    position_R = _positions(batch.mask, masks_M)
    game_R, value_R, stderr_R = batch.game, batch.value, batch.stderr
    inside_R = position_R >= 0
    if not inside_R.all():
        position_R, game_R = position_R[inside_R], game_R[inside_R]
        value_R, stderr_R = value_R[inside_R], stderr_R[inside_R]
    # Too few rows means a missing coalition: told before (G, M) is allocated, which may dwarf the rows.
    few = np.bincount(game_R, minlength=games) < width - optional
    flat_R = game_R * width + position_R
    if few.any():
        game = int(few.argmax())
        _refuse_incomplete(batch, masks_M, game, np.bincount(position_R[game_R == game], minlength=width), optional)
    count_GM = np.bincount(flat_R, minlength=games * width).reshape(games, width)
    wrong = (count_GM > 1).any(axis=1) | (count_GM[:, : width - optional] == 0).any(axis=1)
    if wrong.any():
        game = int(wrong.argmax())
        _refuse_incomplete(batch, masks_M, game, count_GM[game], optional)
    values, errors = np.full(games * width, np.nan), np.full(games * width, np.nan)
    values[flat_R], errors[flat_R] = value_R, stderr_R
    return values.reshape(games, width), errors.reshape(games, width)


def _positions(mask_R: NDArray[np.int64], masks_M: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of each row's coalition in `masks_M`, -1 where it is not among them."""
    order = np.argsort(masks_M)
    table = masks_M[order]
    if np.array_equal(table, np.arange(len(table))):
        position: NDArray[np.int64] = np.append(order, -1)[np.minimum(mask_R, len(table))]
        return position
    slot = np.minimum(np.searchsorted(table, mask_R), len(table) - 1)
    position = np.where(table[slot] == mask_R, order[slot], -1)
    return position


def _refuse_incomplete(
    batch: Batch, masks_M: NDArray[np.int64], game: int, count_M: NDArray[np.int64], optional: int
) -> None:
    """Raise UserError for the first coalition of a game that is there twice, or needed and absent."""
    twice = np.flatnonzero(count_M > 1)
    absent = np.flatnonzero(count_M[: len(masks_M) - optional] == 0)
    column = int(twice[0] if len(twice) else absent[0])
    kept = kept_of(int(masks_M[column]), batch.n)
    if len(twice):
        problem = f"coalition {kept} is there {count_M[column]} times; keep one of them"
    else:
        problem = f"coalition {kept} is missing ({len(absent)} of {len(masks_M) - optional} are); value it"
    raise UserError(f"game {batch.game_ids[game]}: {problem} or leave the game out")


def solve(coalitions: pl.DataFrame, estimator: Estimator | None = None) -> pl.DataFrame:
    """One credit row per game and player, columns as in `CREDIT_SCHEMA`; games may differ in size.

    `coalitions`: game_id, kept, value, stderr (null: this value has no sampling error), in any order. Each
    game must have every coalition that the estimator (exact Shapley unless told) needs, exactly once; others
    are left aside. `player_index` counts in the order of the game's players.
    stderr covers what stderr_source says: nothing ("none", then stderr and interval are null), the sampled
    coalitions ("estimator"), the sampled values ("rollout", taken as independent of each other), or "both"
    (an upper bound: noise of the values also widens the spread that the estimator sees).
    loo is v(N) - v(N without i). residual is sum(credit) - (v_full - v_empty), null where not efficient.
    v_empty is null where leave-one-out games did not value it. A game of no players has no row.
    Raises UserError, naming the game, for rows that cannot be solved.
    """
    method = estimator or exact.Exact()
    parts = [_solve_batch(batch, method) for batch in batches(coalitions) if batch.n > 0]
    return pl.concat(parts) if parts else pl.DataFrame(schema=CREDIT_SCHEMA)


def _solve_batch(batch: Batch, method: Estimator) -> pl.DataFrame:
    n, games = batch.n, len(batch.game_ids)
    masks = method.coalitions(n)
    width = len(masks)
    has_empty = bool((masks == 0).any())
    looked_up = masks if has_empty else np.append(masks, 0)
    value, error = gather(batch, looked_up, optional=0 if has_empty else 1)
    column = {int(mask): index for index, mask in enumerate(looked_up)}
    v_full, v_empty = value[:, column[(1 << n) - 1]], value[:, column[0]]
    loo_Gn = v_full[:, None] - value[:, [column[int(mask)] for mask in loo.coalitions(n)[1:]]]
    weights, value_GM, error_GM = method.weights(n), value[:, :width], error[:, :width]
    credit_Gn = value_GM @ weights
    sampled_G = ~np.isnan(error_GM).all(axis=1)
    variance_Gn = method.variance(value_GM, n)
    if sampled_G.any():
        variance_Gn = variance_Gn + np.square(np.nan_to_num(error_GM)) @ np.square(weights)
    stderr_Gn = np.sqrt(variance_Gn)
    if not method.samples:
        stderr_Gn[~sampled_G] = np.nan
    half_Gn = stderr_Gn * method.critical(n)
    residual_G = credit_Gn.sum(axis=1) - (v_full - v_empty) if method.efficient else np.full(games, np.nan)
    sources = ("estimator", "both") if method.samples else ("none", "rollout")
    source = pl.Series(sources, dtype=pl.String).gather(np.repeat(sampled_G.astype(np.int64), n))
    rows = games * n
    table = pl.DataFrame(
        {
            "game_id": batch.game_ids.gather(np.repeat(np.arange(games), n)),
            "player_index": np.tile(np.arange(n, dtype=np.int32), games),
            "credit": credit_Gn.ravel(),
            "loo": loo_Gn.ravel(),
            "stderr": stderr_Gn.ravel(),
            "stderr_source": source,
            "ci_low": (credit_Gn - half_Gn).ravel(),
            "ci_high": (credit_Gn + half_Gn).ravel(),
            "evaluations": pl.repeat(width, rows, dtype=pl.Int64, eager=True),
            "v_full": np.repeat(v_full, n),
            "v_empty": np.repeat(v_empty, n),
            "residual": np.repeat(residual_G, n),
            "efficient": pl.repeat(method.efficient, rows, dtype=pl.Boolean, eager=True),
            "estimator": pl.repeat(method.name, rows, dtype=pl.String, eager=True),
        },
        schema=CREDIT_SCHEMA,
    )
    return table.with_columns(pl.col("stderr", "ci_low", "ci_high", "residual", "v_empty").fill_nan(None))
