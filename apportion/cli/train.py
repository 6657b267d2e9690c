"""The verbs that make something of annotated runs: `train`, `export`, `loop`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apportion.cli.common import ConfigFile, DryRun, Format, Run, Sets, Trust, config_of_run, configured, printed, say

if TYPE_CHECKING:
    from apportion.pipeline.stages.loop import Round


Runs = Annotated[list[str] | None, typer.Option("--run", "-r", help="A run's id, repeatable; default: the newest.")]


class Trainer(StrEnum):
    """What to train with."""

    DPO = "dpo"
    GRPO = "grpo"


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command()(train)
    app.command()(export)
    app.command()(loop)


def train(
    trainer: Annotated[Trainer, typer.Argument(help="dpo (preference pairs) or grpo (advantages).")],
    config: ConfigFile = None,
    sets: Sets = None,
    run: Run = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the new checkpoint.")] = None,
    policy: Annotated[str, typer.Option("--policy", "-p", help="Name of a [policies.NAME]; default: the team's.")] = "",
    dry_run: DryRun = False,
    trust: Trust = False,
) -> None:
    """Train one policy of the run on the messages of its own agents; writes a checkpoint that vLLM loads."""
    from apportion.pipeline.runs.run import Run as Opened
    from apportion.pipeline.stages import train as stage

    resolved, run = config_of_run(config, sets, run, runs_code=True, trust=trust, families=("advantages",))
    planned = stage.plan(resolved, run, trainer.value, out, policy=policy)
    Opened(resolved, run).refuse_held()
    planned.policy.check()
    rows = f"{planned.data.num_rows} {'pairs' if trainer is Trainer.DPO else 'sequences'}"
    if planned.elsewhere:
        rows += f" ({planned.elsewhere} more are on the validation and test splits)"
    if planned.made and planned.made.flat:
        rows += f" ({planned.made.flat} more are in groups without any difference)"
    for reason, number in planned.made.refused.items() if planned.made else ():
        say(f"set aside: {number} x {reason}")
    if planned.refused.total:
        say(f"set aside by the trainer: {planned.refused}")
    if dry_run:
        if planned.done:
            say(f"run {run}: {planned.out} is already trained so: nothing would be done")
        else:
            say(f"run {run}: would train {planned.name} on {rows}; checkpoint: {planned.out}")
        return
    if planned.done:
        say(f"run {run}: {planned.out} is already trained so")
    else:
        from apportion.cli.progress import Bars

        say(f"run {run}: training {planned.name} on {rows}")
        with Bars():
            stage.run(planned)
    say(f"checkpoint: {planned.out}; use it with --set {planned.policy.key}.path={planned.out}")
    printed(resolved, _LOG_SQL.format(run=run, job=planned.job), Format.TABLE)


def export(
    folder: Annotated[Path, typer.Argument(help="Where to write the data sets.")],
    config: ConfigFile = None,
    sets: Sets = None,
    run: Runs = None,
    dry_run: DryRun = False,
) -> None:
    """Write preference, KTO, stepwise and GRPO data sets that datasets, DuckDB and Polars read."""
    from apportion.pipeline.stages.export import plan
    from apportion.pipeline.stages.export import run as stage

    configs = {}
    for one in run or (None,):
        resolved, name = config_of_run(config, sets, one)
        configs[name] = resolved
    if dry_run:
        planned = plan(configs, folder)
        for path, count in planned.rows.items():
            say(f"would write {folder / path}: {count} rows")
        if not planned.rows:
            say("no row for any data set: annotate the runs first (apportion annotate)")
        return
    manifest = stage(configs, folder)
    for file in manifest["files"]:
        if "rows" in file:
            say(f"{folder / file['path']}: {file['rows']} rows")
    first = next((file["config"] for file in manifest["files"] if "rows" in file), None)
    if first:
        say(f'read it: datasets.load_dataset("{folder}", "{first}"); caveats: {folder / "README.md"}')


def loop(config: ConfigFile = None, sets: Sets = None, dry_run: DryRun = False) -> None:
    """Sample, annotate, update, put the new weights into vLLM, and again. The same command resumes where it stopped."""
    from apportion.pipeline.stages.loop import plan, ready

    resolved = configured(config, sets)
    rounds = plan(resolved)
    section = resolved.loop
    ready(rounds)
    if dry_run:
        say(
            f"{section.iterations} iterations of {section.tasks} tasks x {resolved.sample.group_size} rollouts, then "
            f"{section.trainer}; runs {rounds[0].config.run.name} to {rounds[-1].config.run.name}"
        )
        return
    from apportion.cli.progress import Bars
    from apportion.flows.common import light
    from apportion.flows.loop import loop as flow

    def tell(one: Round, run: str) -> None:
        from apportion.pipeline.runs.sql import query

        found = query(resolved.store_root, _RATE_SQL.format(run=run)).to_pylist()[0]
        say(f"iteration {one.number}: {found['successes']} of {found['n']} solved by {one.config.model.path}")

    with light(), Bars():
        last = flow(resolved, tell)
    say(f"last policy: {last}")
    names = ", ".join(f"'{one.config.run.name}'" for one in rounds)
    printed(resolved, _LOOP_SQL.format(names=names), Format.TABLE)


_RATE_SQL = "SELECT n, successes FROM success WHERE run_id = '{run}' AND origin = 'sampled'"
_LOOP_SQL = (
    "SELECT run_id, max(version) AS policy_version, any_value(n) AS rollouts, any_value(successes) AS successes, "
    "any_value(rate) AS rate, any_value(ci_low) AS ci_low, any_value(ci_high) AS ci_high FROM success "
    "JOIN (SELECT DISTINCT run_id, policy_id FROM messages WHERE run_id IN ({names}) AND policy_id IS NOT NULL) "
    "USING (run_id) JOIN policies USING (run_id, policy_id) WHERE origin = 'sampled' GROUP BY run_id "
    "ORDER BY length(run_id), run_id"
)
_LOG_SQL = (
    "SELECT metric, count(*)::INT AS steps, arg_min(value, step) AS first, arg_max(value, step) AS last "
    "FROM training_log WHERE run_id = '{run}' AND job = '{job}' GROUP BY metric ORDER BY metric"
)
