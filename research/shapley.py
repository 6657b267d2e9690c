"""Shapley values from few coalitions: ours against the library shapiq, at equal budgets; intervals, tokens, speed.

    .venv/bin/python -m research.shapley [--games 100] [--recorded data/benchmark] [--speed]

Five families of games of 12 players (shapley_games.py says how each is made), budgets of 64 to 1,024 distinct
coalitions, full and empty included. Printed:

* error: mean squared error of the credits against the exact Shapley values, ours beside shapiq's permutation,
  stratified, SVARM and KernelSHAP estimators, and the ratio of ours (quadrature) to the best of their four;
* coverage: how often the 95 % intervals hold the exact value over 1,000 random games (and 100 of each other family), at
  fixed budgets; and under early stopping, where the budget doubles until every half-width is below a target;
* tokens: the same errors at equal *token* budgets, distinct trie tokens of the prompts, where quadrature chooses
  coalitions with shared prefixes in mind and where it does not;
* with --speed, from a `coalitions` Parquet of 100,000 games of 6 players to a `credits` Parquet.

shapiq needs Python 3.12: without it in this one, a virtual environment is made under data/. What cannot be had is
skipped in capitals. About 10 minutes on one core, most of them shapiq's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from apportion.pipeline.credit import exact
from apportion.pipeline.credit.base import Estimator
from apportion.pipeline.credit.choose import within_tokens
from apportion.pipeline.credit.owen import SampledOwen, plan
from apportion.pipeline.credit.permutation import Permutation, plan_within
from apportion.pipeline.credit.prompt import ALWAYS, Prompt
from apportion.pipeline.credit.quadrature import Quadrature
from research.shapley_games import PLAYERS, families, random_games
from research.shapley_peers import NAMES, python_with_shapiq, save

BUDGETS = (64, 128, 256, 512, 1024)
BAR = 1.05
PLANS = 10
MOST = 2048
PROMPT = Prompt(((ALWAYS, 100), *((player, 200) for player in range(PLAYERS)), (ALWAYS, 20)), placeholder=6)
UNIONS = tuple("aaabbbcccddd")

Games = Mapping[str, NDArray[np.float64]]


def main(
    games: int = 100,
    seed: int = 1,
    recorded: Path = Path("data/benchmark"),
    peers: bool = True,
    coverage: bool = True,
    tokens: bool = True,
    speed: bool = False,
    home: Path = Path("data/shapiq"),
) -> None:
    """Print the tables that are asked for."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    found = families(games, seed, recorded)
    if "recorded" not in found:
        console.print(f"SKIPPED: THE RECORDED FAMILY. {recorded} holds fewer than four games of three players.")
    if peers:
        _errors(console, found, home)
    if coverage:
        _coverage(console, found, seed)
        _stopping(console, found, seed)
    if tokens:
        _tokens(console, found)
    if speed:
        _speed(console)


def mean_error(values: NDArray[np.float64], credit: NDArray[np.float64]) -> float:
    """Mean over games and players of the squared error."""
    return float(np.square(credit - exact.shapley(values)).mean())


def by_plans(values: NDArray[np.float64], methods: list[Estimator]) -> NDArray[np.float64]:
    """Credits of the games, each in turn by one of the methods: several seeds of one estimator."""
    credit = np.empty((len(values), PLAYERS))
    for index, method in enumerate(methods):
        at = values[index :: len(methods)][:, method.coalitions(PLAYERS)]
        credit[index :: len(methods)] = at @ method.weights(PLAYERS)
    return credit


def quadratures(budget: int) -> list[Estimator]:
    """Ours, by several seeds."""
    return [Quadrature(budget, seed) for seed in range(PLANS)]


def permutations(budget: int) -> list[Estimator]:
    """Antithetic permutations, by several seeds."""
    return [Permutation(plan_within(PLAYERS, budget, seed).pairs, seed) for seed in range(PLANS)]


def _errors(console: Console, found: Games, home: Path) -> None:
    theirs = _peers(console, found, home)
    table = _table("mean squared error x 10^6 at equal budgets of distinct coalitions", "family", "budget")
    for column in ("quadrature", "permutation", *(f"shapiq {name}" for name in NAMES if theirs), "ratio"):
        table.add_column(column, justify="right")
    worst: dict[str, float] = {}
    for family, values in found.items():
        for budget in BUDGETS:
            ours = [mean_error(values, by_plans(values, make(budget))) for make in (quadratures, permutations)]
            others = [mean_error(values, theirs[f"{name}|{budget}|{family}"]) for name in NAMES if theirs]
            ratio = ours[0] / min(others, default=float("nan"))
            worst[family] = max(worst.get(family, 0.0), ratio)
            table.add_row(family, str(budget), *(f"{1e6 * error:.1f}" for error in ours + others), f"{ratio:.2f}")
    console.print(table)
    held = [family for family, ratio in worst.items() if ratio <= BAR]
    if theirs:
        console.print(
            f"At most {BAR} times the best of their four at every budget: {len(held)} of {len(worst)} families "
            f"(largest ratios: {', '.join(f'{family} {ratio:.2f}' for family, ratio in worst.items())})."
        )


def _peers(console: Console, found: Games, home: Path) -> dict[str, NDArray[np.float64]]:
    """Credits by shapiq under "estimator|budget|family"; empty, and said so, where it cannot be had."""
    try:
        python = python_with_shapiq(home)
    except RuntimeError as error:
        console.print(f"SKIPPED: THE COMPARISON WITH SHAPIQ. {error}")
        return {}
    with tempfile.TemporaryDirectory() as folder:
        games, credits = Path(folder) / "games.npz", Path(folder) / "credits.npz"
        save(games, found)
        worker = Path(__file__).with_name("shapley_peers.py")
        started = time.monotonic()
        command = [python, str(worker), str(games), str(credits), *map(str, BUDGETS)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
        console.print(f"shapiq's estimators took {time.monotonic() - started:.0f} s.")
        return dict(np.load(credits))


def _table(title: str, *labels: str) -> Table:
    table = Table(title=title)
    for label in labels:
        table.add_column(label)
    return table


def _halves(method: Estimator, values_GM: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half-widths of the 95 % intervals, shape (G, n)."""
    return np.sqrt(method.variance(values_GM, PLAYERS)) * method.critical(PLAYERS)


def _coverage(console: Console, found: Games, seed: int) -> None:
    many = random_games(1000, np.random.default_rng([seed, 1]))
    table = _table("share of 95 % intervals that hold the exact value, %", "games", "estimator")
    for budget in BUDGETS:
        table.add_column(str(budget), justify="right")
    for family, values in {"1,000 random": many, **{name: found[name] for name in found if name != "random"}}.items():
        truth = exact.shapley(values)
        for name, make in (("quadrature", quadratures), ("permutation", permutations)):
            table.add_row(family, name, *(_covered(values, truth, make(budget)) for budget in BUDGETS))
    owen_plan = plan(UNIONS)
    truth = many[:, owen_plan.masks] @ owen_plan.weights
    pairs = {budget: (budget - PLAYERS) // (2 * PLAYERS) for budget in BUDGETS}
    table.add_row(
        "1,000 random, 4 agents of 3 messages",
        "owen_sampled",
        *(_covered(many, truth, [SampledOwen(UNIONS, pairs[b], s) for s in range(PLANS)]) for b in BUDGETS),
    )
    console.print(table)


def _covered(values: NDArray[np.float64], truth: NDArray[np.float64], methods: list[Estimator]) -> str:
    hits = []
    for index, method in enumerate(methods):
        at = values[index :: len(methods)][:, method.coalitions(PLAYERS)]
        half = _halves(method, at)
        if np.isnan(half).any():
            return "-"
        hits.append(np.abs(at @ method.weights(PLAYERS) - truth[index :: len(methods)]) <= half + 1e-12)
    return f"{100 * np.concatenate(hits).mean():.1f}"


def _stopping(console: Console, found: Games, seed: int) -> None:
    table = _table(
        f"early stopping: the budget doubles from {BUDGETS[0]} to {BUDGETS[-1]} until all half-widths are below",
        "games",
        "estimator",
    )
    for column in ("target", "covered, %", "target met, %", "mean coalitions"):
        table.add_column(column, justify="right")
    many = random_games(1000, np.random.default_rng([seed, 2]))
    for family, values in (("1,000 random", many), ("voting", found["voting"])):
        for name, make in (("quadrature", quadratures), ("permutation", permutations)):
            methods = [make(budget) for budget in BUDGETS]
            for target in (0.08, 0.05):
                table.add_row(family, name, str(target), *_stopped(values, methods, target))
    console.print(table)


def _stopped(values: NDArray[np.float64], methods: list[list[Estimator]], target: float) -> tuple[str, str, str]:
    """Coverage, share of games that met the target, mean budget; `methods` by budget, then by plan."""
    truth = exact.shapley(values)
    open_G = np.ones(len(values), dtype=bool)
    hit_Gn, spent_G = np.zeros(truth.shape, dtype=bool), np.zeros(len(values))
    for budget, plans in zip(BUDGETS, methods, strict=True):
        for index, method in enumerate(plans):
            games = np.flatnonzero(open_G & (np.arange(len(values)) % len(plans) == index))
            at = values[games][:, method.coalitions(PLAYERS)]
            half = _halves(method, at)
            hit_Gn[games] = np.abs(at @ method.weights(PLAYERS) - truth[games]) <= half + 1e-12
            spent_G[games] = budget
            open_G[games] = ~(half.max(axis=1) < target)
    return f"{100 * hit_Gn.mean():.1f}", f"{100 * (~open_G).mean():.0f}", f"{spent_G.mean():.0f}"


def _tokens(console: Console, found: Games) -> None:
    table = _table("mean squared error x 10^6 at equal budgets of distinct tokens", "tokens", "estimator")
    for column in ("coalitions", *found):
        table.add_column(column, justify="right")
    for budget in BUDGETS[:-1]:
        tokens = PROMPT.distinct(Quadrature(budget).coalitions(PLAYERS))
        arms: dict[str, list[Estimator]] = {
            "quadrature": [Quadrature(budget)],
            "quadrature, prefixes in mind": _affordable("quadrature", tokens),
            "permutation": _affordable("permutation", tokens),
        }
        for name, methods in arms.items():
            errors = [mean_error(values, by_plans(values, methods)) for values in found.values()]
            coalitions = len(methods[0].coalitions(PLAYERS))
            table.add_row(f"{tokens:,}", name, str(coalitions), *(f"{1e6 * error:.1f}" for error in errors))
    console.print(table)
    console.print("12 messages of 200 tokens after 100 of the task and before 20 of the cue; 6 for a masked message.")


def _affordable(name: str, tokens: int) -> list[Estimator]:
    return [within_tokens(tokens, PROMPT, name, PLAYERS, MOST, None, 0)]


def _speed(console: Console) -> None:
    """A process of its own reads, solves and writes: its wall-clock time and peak memory, imports included."""
    games, players = 100_000, 6
    code = (
        "import resource, sys, time; start = time.monotonic(); import polars as pl; "
        "from apportion.pipeline.credit.solve import REQUIRED, solve; ready = time.monotonic(); "
        "solve(pl.read_parquet(sys.argv[1], columns=list(REQUIRED))).write_parquet(sys.argv[2]); "
        "print(ready - start, time.monotonic() - ready, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "coalitions.parquet", Path(folder) / "credits.parquet"
        kept = [format(mask, f"0{players}b")[::-1] for mask in range(1 << players)]
        rows = games << players
        pl.DataFrame(
            {
                "game_id": np.repeat([f"v{game:020x}" for game in range(games)], 1 << players),
                "kept": pl.Series(kept).gather(np.tile(np.arange(1 << players), games)),
                "value": np.random.default_rng(0).random(rows),
                "stderr": pl.repeat(None, rows, dtype=pl.Float64, eager=True),
            }
        ).write_parquet(source)
        command = [sys.executable, "-c", code, str(source), str(target)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        imports, seconds, peak = (float(each) for each in done.stdout.split())
        console.print(
            f"{games:,} games of {players} players, {rows:,} coalitions, {source.stat().st_size / 1e6:.0f} MB of "
            f"Parquet to credits: {seconds:.2f} s after {imports:.2f} s of imports, peak {peak / 1e6:.2f} GB."
        )


if __name__ == "__main__":
    typer.run(main)
