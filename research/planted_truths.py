"""Planted truths: does the credit find the saboteur, the idler, the key holder and the duplicate?

    .venv/bin/python -m research.planted_truths [--games 400] [--masking drop] [--model smollm2] [--out FILE.json]

Plays games on templated two-hop text in which every agent's part is known (`research/planted_games.py`) with
the likelihood value on all coalitions of the real engine, and solves them exactly. Printed: the AUROC of the saboteur
against the honest agents (by -phi) and of the content-free agent against them (by |phi|), the share of games in which
the key holder ranks first, the share of duplicate pairs that 16 antithetic pairs of permutations could not tell apart,
and their mean difference; each with a bootstrap 95 % interval over games. Then credits by part, to see why.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.core.libraries import hush
from apportion.pipeline.credit.exact import shapley
from apportion.pipeline.credit.solve import mask_of
from apportion.pipeline.engines import running
from apportion.pipeline.engines.base import Engine
from apportion.pipeline.games.game import Game, Rules
from apportion.pipeline.games.prompts import chunks
from apportion.pipeline.values import likelihood
from research.planted_games import Figure, Part, Planted, Solved, as_game, figures, generate


def main(
    games: Annotated[int, typer.Option(min=8, help="Half of them have a key holder, half a duplicate pair.")] = 400,
    masking: Annotated[str, typer.Option(help="placeholder or drop")] = "placeholder",
    model: str = "smollm2",
    seed: int = 0,
    data: Path = Path("data"),
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    """Measure the engine on games whose truth is known."""
    hush(data)
    sets = {"run.data": str(data), "model.path": model, "annotate.masking": masking}
    config = load_config(None, tuple(f"{key}={json.dumps(value)}" for key, value in sets.items()))
    engine = running.engine_for(config.model, config.data_root)
    planted = generate(games, seed)
    begin = time.perf_counter()
    solved = score(planted, rules_of(config, engine), engine)
    seconds = time.perf_counter() - begin
    found = figures(solved, seed)
    console = Console(width=120)
    console.print(shown(found, f"{games} games, {masking}, {model}, {seconds:.0f} s"))
    console.print(by_part(solved))
    if out:
        told = {"games": games, "masking": masking, "model": model, "seed": seed, "seconds": seconds}
        out.write_text(json.dumps({**told, "figures": [asdict(one) for one in found]}, indent=1) + "\n")


def rules_of(config: Config, engine: Engine) -> Rules:
    """The rules of a game of `annotate` with the likelihood value, all defaults."""
    section = config.annotate
    return Rules(
        value="likelihood",
        scorer=engine.fingerprint,
        answerer="outcome",
        masking=section.masking,
        cue=section.cue,
        window=config.model.max_model_len,
    )


def score(planted: Sequence[Planted], rules: Rules, engine: Engine) -> list[Solved]:
    """Value every coalition of every game, and solve them exactly."""
    games = [as_game(one, rules) for one in planted]
    rows: list[dict[str, Any]] = []
    for chunk in chunks([(game, 1 << len(game.players)) for game in games]):
        asked = [likelihood.ask(game, np.arange(game.full + 1), engine.tokenizer) for game in chunk]
        rows += likelihood.evaluate(asked, engine)
    values = {game.game_id: np.full(game.full + 1, np.nan) for game in games}
    for row in rows:
        values[row["game_id"]][mask_of(row["kept"])] = row["value"]
    return [solve(one, game, values[game.game_id]) for one, game in zip(planted, games, strict=True)]


def solve(planted: Planted, game: Game, values: Any) -> Solved:
    """One game solved; the credits must add up."""
    credits = shapley(values[None])[0]
    if not abs(credits.sum() - (values[-1] - values[0])) < 1e-9:
        raise ArithmeticError(f"game {game.game_id}: credits {credits} do not sum to {values[-1] - values[0]}")
    return Solved(planted, values, credits)


def shown(found: Sequence[Figure], title: str) -> Table:
    """The figures as a table."""
    table = Table("figure", "games", "value", "95 % interval", "bar", "", title=title)
    for one in found:
        verdict: Literal["", "met", "MISSED"] = "" if one.bar is None else "met" if one.value >= one.bar else "MISSED"
        bar = "" if one.bar is None else f"{one.bar:.2f}"
        table.add_row(one.name, str(one.games), f"{one.value:.3f}", f"{one.low:.3f} to {one.high:.3f}", bar, verdict)
    return table


def by_part(solved: Sequence[Solved]) -> Table:
    """Credits by what an agent was planted as, and what the games are worth."""
    table = Table("part", "agents", "mean phi", "mean |phi|", "share positive", "10 % of |phi| below", "90 % below")
    for part in Part:
        phi = np.concatenate([np.empty(0), *(one.credits[one.planted.places(part)] for one in solved)])
        if len(phi):
            low, high = np.percentile(abs(phi), [10, 90])
            numbers = (phi.mean(), abs(phi).mean(), (phi > 0).mean(), low, high)
            table.add_row(str(part), str(len(phi)), *(f"{number:.3f}" for number in numbers))
    full, empty = (np.mean([one.values[end] for one in solved]) for end in (-1, 0))
    table.caption = f"mean v(N) {full:.3f}, mean v(nobody) {empty:.3f}"
    return table


if __name__ == "__main__":
    typer.run(main)
