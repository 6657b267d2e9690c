"""The demo: the whole road on tasks of our own, told step by step."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import MAX_NAME
from apportion.pipeline.core.paths import SHIPPED, change_paths

CONFIG = SHIPPED / "demo.toml"
PROJECT = Path(__file__).parent / "project"
"""An example of a team of one's own, which `apportion init` copies."""
WORLD = "data/demo"
"""The demo's tasks and registers, as its configuration names them: they lie in the data folder of the run."""
HELD_OUT = "heldout"
"""The held-out world, below it."""
TASKS = 36
HELD_OUT_TASKS = 24
HELD_OUT_ROLLOUTS = 2


def run_demo(config: Config) -> None:
    """Sample, credit, blame, repair, export, train by DPO and by GRPO, and compare on tasks never seen."""
    from apportion.cli.progress import Bars
    from apportion.flows.common import light
    from apportion.flows.stage import play
    from apportion.pipeline.runs.run import Run
    from apportion.pipeline.stages.blame import Blame
    from apportion.pipeline.stages.credit import Credit
    from apportion.pipeline.stages.export import run as export
    from apportion.pipeline.stages.sample import Sample
    from apportion.pipeline.tasks.multihop import generate, write

    console = Console(highlight=False, width=int(os.environ.get("COLUMNS", "100")))
    begin = time.perf_counter()
    if config.as_written(config.tasks.path) != f"{WORLD}/tasks.jsonl":
        raise UserError(
            f"demo writes its own tasks to {WORLD}; for tasks of yours: apportion sample --config FILE.toml"
        )
    most = MAX_NAME - len("-before")
    if len(config.run.name) > most:
        raise UserError(
            f"config: run.name is too long for the demo ({len(config.run.name)} characters, at most {most}: its "
            "held-out runs add to it)"
        )
    config = at_home(config)
    world = generate(TASKS, config.run.seed)
    write(world, home(config))
    write(generate(HELD_OUT_TASKS, config.run.seed, "test"), home(config) / HELD_OUT)
    console.print(f"[bold]1. Tasks[/]  {len(world.tasks)} two-hop questions; for example: {world.tasks[0].question}")
    with light(), Bars():
        play(Sample(config))
        run = config.run_id
        _say_success(console, config, run)
        play(Credit(Run(config, run)))
        _say_credit(console, config, run)
        play(Blame(Run(config, run)))
        _say_blame(console, config, run)
        folder = config.data_root / "exports" / run
        manifest = export({run: config}, folder)
        _say_export(console, folder, manifest)
        _train_and_compare(console, config, run)
    _say_next(console, config, run, time.perf_counter() - begin)


def _train_and_compare(console: Console, config: Config, run: str) -> None:
    """DPO on the pairs and GRPO on the advantages, each from the first policy; all three on held-out tasks."""
    from apportion.flows.stage import play
    from apportion.pipeline.stages import train
    from apportion.pipeline.stages.sample import Sample

    models = {"before": config.model.path}
    for kind in ("dpo", "grpo"):
        try:
            models[f"after {kind.upper()}"] = str(train.run(train.plan(config, run, kind)))
        except train.NothingToLearnError as nothing:
            console.print(f"No {kind.upper()}: {nothing}")
    for name, model in models.items():
        play(Sample(held_out(config, f"{run}-{name.split()[-1].lower()}", model)))
    runs = ", ".join(f"'{run}-{name.split()[-1].lower()}'" for name in models)
    console.print(f"\n[bold]6. Trained[/]  and tried on {HELD_OUT_TASKS} questions about inns and people never seen")
    _show(
        console,
        config,
        f"SELECT run_id, n, successes, rate, ci_low, ci_high FROM success WHERE run_id IN ({runs}) ORDER BY rate",
    )


def home(config: Config) -> Path:
    """Where the demo's world lies."""
    return config.data_root / Path(WORLD).name


def at_home(config: Config) -> Config:
    """The same configuration with its world in the run's own data folder, whatever lies elsewhere."""
    values = config.model_dump(mode="json")

    def move(key: str, path: str) -> str:
        told = Path(config.as_written(path))
        return str(home(config) / told.relative_to(WORLD)) if told.is_relative_to(WORLD) else path

    change_paths(values, move)
    if str(home(config)) != WORLD:
        values["written"] = {**config.written, str(home(config)): WORLD}
    return Config.model_validate(values)


def held_out(config: Config, name: str, model: str) -> Config:
    """The same team with the registers of the held-out world, played by the policy at `model`."""
    values = config.model_dump(mode="json")
    values["run"] |= {"name": name, "held_out": True}
    values["model"]["path"] = model
    world = home(config) / HELD_OUT
    values["tasks"]["path"] = str(world / "tasks.jsonl")
    values["sample"] |= {"solo": False, "group_size": HELD_OUT_ROLLOUTS}
    for tool in values["team"]["tools"].values():
        files = tool["documents"] if isinstance(tool["documents"], list) else [tool["documents"]]
        tool["documents"] = [str(world / Path(file).name) for file in files]
    return Config.model_validate(values)


def _say_blame(console: Console, config: Config, run: str) -> None:
    console.print("\n[bold]4. Blamed[/]  the first error of failures, found by continuing every prefix, and repaired")
    _show(
        console,
        config,
        "SELECT coalesce(agent, '(not found)') AS agent, turn, failures, mean_confidence, confirmed_repairs FROM blame "
        f"WHERE run_id = '{run}' ORDER BY failures DESC, agent, turn",
    )
    pair = _ask(
        config,
        "SELECT agent, chosen[1].content AS chosen, rejected[1].content AS rejected, chosen_successes, chosen_k, "
        f"rejected_successes, rejected_k FROM preferences WHERE run_id = '{run}' AND kind = 'first_error' "
        "ORDER BY margin DESC, weight DESC, pair_id LIMIT 1",
    )
    if pair:
        one = pair[0]
        console.print(
            f"A pair: {one['agent']} wrote “{one['rejected']}” ({one['rejected_successes']} of {one['rejected_k']} "
            f"fresh continuations succeed); better was “{one['chosen']}” ({one['chosen_successes']} of "
            f"{one['chosen_k']}).",
            markup=False,
        )


def _say_export(console: Console, folder: Path, manifest: dict[str, Any]) -> None:
    console.print("\n[bold]5. Exported[/]", end="")
    console.print(f"  to {folder}, for datasets, DuckDB and Polars", markup=False)
    files = [f"{file['path']} {file['rows']} rows" for file in manifest["files"] if "rows" in file]
    console.print(", ".join(files), markup=False)


def _say_success(console: Console, config: Config, run: str) -> None:
    console.print("\n[bold]2. Sampled[/]  a planner with two clerks, and the same model alone with the same tools")
    _show(
        console,
        config,
        f"SELECT team, n, successes, rate, ci_low, ci_high FROM success WHERE run_id = '{run}' "
        "AND origin IN ('sampled', 'solo') ORDER BY origin",
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
        f"FROM agent_credit WHERE run_id = '{run}' AND success ORDER BY mean_credit DESC",
    )
    for line in _worked(config, run):
        console.print(line)
    leak = _ask(config, f"SELECT avg(leak) AS leak FROM games WHERE run_id = '{run}'")[0]["leak"] or 0.0
    console.print(
        f"Caution, leak: of a run's most quoted message {100 * leak:.0f} % still stand in a later one on average. What "
        "an agent found out is credited to whoever said it last, so these credits do not say whom the team could do "
        "without. `apportion audit` replays runs without an agent, and says how far that is from them."
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
        "list_sort(list(credit), 'DESC')[2] AS second "
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
        f"How to read this: asked “{one['question']}”, the planner's reference answer has probability "
        f"{one['v_full']:.2f} per token with everybody's messages in view, and {one['v_empty']:.2f} with none.",
        f"Masked in turn, the agents share the gain of {one['v_full'] - one['v_empty']:+.2f} so: {shares}.",
    ]


def _say_next(console: Console, config: Config, run: str, seconds: float) -> None:
    console.print("\n[bold]7. Next[/]", end="")
    console.print(f"  ({seconds:.0f} s so far; everything is in {config.store_root})", markup=False)
    command = ".venv/bin/apportion" if Path(".venv/bin/apportion").exists() else "apportion"
    there = "" if config.run.data == "data" else f" --set run.data={shlex.quote(config.run.data)}"
    for line in (
        f"sql \"SELECT * FROM agent_credit WHERE run_id = '{run}'\"",
        f"sql \"SELECT agent, text FROM messages WHERE run_id = '{run}' AND kind = 'message' LIMIT 8\"",
        f"runs verify {run}",
        "loop --config configs/loop.toml",
        "sample --config configs/gsm8k.toml --set tasks.path=YOUR.jsonl --dry-run",
        "import messages YOUR_CHATS.jsonl",
    ):
        console.print(f"  {command} {line}{there}", markup=False, soft_wrap=True)


def _ask(config: Config, text: str) -> list[dict[str, Any]]:
    from apportion.pipeline.runs.sql import query

    rows: list[dict[str, Any]] = query(config.store_root, text).to_pylist()
    return rows


def _show(console: Console, config: Config, text: str) -> None:
    from apportion.pipeline.runs.sql import query, render

    console.print(render(query(config.store_root, text), "table"), markup=False, soft_wrap=True)
