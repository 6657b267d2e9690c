"""The demo: the whole road on tasks of our own, told step by step."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.config import Config
from pipeline.errors import UserError

CONFIG = Path("configs/demo.toml")
WORLD = Path("data/demo")
TASKS = 40


def run_demo(config: Config) -> None:
    """Generate tasks, sample team and solo, credit the successes, and print what came out."""
    from flows.annotate import annotate
    from flows.common import light
    from flows.sample import sample
    from pipeline.progress import Bars
    from pipeline.tasks.multihop import generate, write

    console = Console(highlight=False, width=int(os.environ.get("COLUMNS", "100")))
    begin = time.perf_counter()
    if Path(config.tasks.path) != WORLD / "tasks.jsonl":
        raise UserError(
            f"demo writes its own tasks to {WORLD}; for tasks of yours: apportion sample --config FILE.toml"
        )
    world = generate(TASKS, config.run.seed)
    write(world, WORLD)
    console.print(f"[bold]1. Tasks[/]  {len(world.tasks)} two-hop questions; for example: {world.tasks[0].question}")
    with Bars(), light():
        run = sample(config)
        _say_success(console, config, run)
        annotate(config, run)
    _say_credit(console, config, run)
    _say_next(console, config.store_root, run, time.perf_counter() - begin)


def _say_success(console: Console, config: Config, run: str) -> None:
    console.print("\n[bold]2. Sampled[/]  a planner with two clerks, and the same model alone with the same tools")
    _show(
        console,
        config,
        f"SELECT team, n, successes, rate, ci_low, ci_high FROM success WHERE run_id = '{run}'",
    )
    rates = {row["origin"]: row["rate"] for row in _ask(config, f"FROM success WHERE run_id = '{run}'")}
    team, solo = rates["sampled"], rates.get("solo")
    if solo is None:
        return
    console.print(
        f"The team answers {100 * team:.0f} % of the questions, the same model alone {100 * solo:.0f} %: "
        f"{100 * (team - solo):+.0f} points."
    )


def _say_credit(console: Console, config: Config, run: str) -> None:
    console.print("\n[bold]3. Credited[/]  exact Shapley values of the agents of every success")
    _show(
        console,
        config,
        "SELECT player, role, games, mean_credit, mean_loo, min_credit, max_credit, share_positive "
        f"FROM agent_credit WHERE run_id = '{run}' ORDER BY mean_credit DESC",
    )
    for line in _worked(config, run):
        console.print(line)
    leak = _ask(config, f"SELECT avg(leak) AS leak FROM games WHERE run_id = '{run}'")[0]["leak"] or 0.0
    console.print(
        f"Mind the leak: on average {100 * leak:.0f} % of a masked message still stands, quoted, in a later one, and "
        "credit goes to whoever said it last (column leak of games)."
    )
    console.print("\nDo the credits add up, and do they say anything?")
    _show(console, config, CHECK.format(run=run))


CHECK = (
    "SELECT count(*) AS games, max(abs(total - gain)) AS worst_residual, "
    "avg((largest > 0.05)::INT) AS share_informative FROM (SELECT game_id, sum(credit) AS total, "
    "any_value(v_full - v_empty) AS gain, max(abs(credit)) AS largest FROM credits "
    "WHERE run_id = '{run}' AND estimator = 'exact' GROUP BY game_id)"
)


def _worked(config: Config, run: str) -> list[str]:
    """One game in words."""
    game = _ask(
        config,
        "SELECT c.game_id, t.question, j.answer, any_value(v_full) AS v_full, any_value(v_empty) AS v_empty, "
        "arg_max(player, credit) AS best, list_sort(list(credit), 'DESC')[2] AS second "
        "FROM credits c JOIN tasks t USING (run_id, task_id) "
        "JOIN trajectories j USING (run_id, trajectory_id) "
        f"WHERE c.run_id = '{run}' AND estimator = 'exact' GROUP BY ALL ORDER BY second DESC, game_id LIMIT 1",
    )
    if not game:
        return ["No success to credit in this run."]
    one = game[0]
    players = _ask(
        config,
        f"SELECT player, credit FROM credits WHERE run_id = '{run}' AND game_id = '{one['game_id']}' "
        "AND estimator = 'exact' ORDER BY credit DESC",
    )
    shares = ", ".join(f"{row['player']} {row['credit']:+.2f}" for row in players)
    return [
        f"Read it so: asked “{one['question']}”, the planner's reference answer has probability "
        f"{one['v_full']:.2f} a token with everybody's messages in view, and {one['v_empty']:.2f} with none.",
        f"The gain of {one['v_full'] - one['v_empty']:+.2f} is split {shares}: most of it is owed to {one['best']}.",
    ]


def _say_next(console: Console, root: Path, run: str, seconds: float) -> None:
    console.print(f"\n[bold]4. Next[/]  ({seconds:.0f} s so far; everything is in {root})")
    for line in (
        f"apportion sql \"SELECT * FROM agent_credit WHERE run_id = '{run}'\"",
        f"apportion sql \"SELECT agent, text FROM messages WHERE run_id = '{run}' AND kind = 'message' LIMIT 8\"",
        f"apportion runs verify {run}",
        "apportion sample --config configs/gsm8k.toml --set tasks.path=YOUR.jsonl --dry-run",
        "apportion import messages YOUR_CHATS.jsonl",
    ):
        console.print(f"  .venv/bin/{line}", markup=False, soft_wrap=True)


def _ask(config: Config, text: str) -> list[dict[str, Any]]:
    from pipeline.sql import query

    rows: list[dict[str, Any]] = query(config.store_root, text).to_pylist()
    return rows


def _show(console: Console, config: Config, text: str) -> None:
    from pipeline.sql import query, render

    console.print(render(query(config.store_root, text), "table"), markup=False, soft_wrap=True)
