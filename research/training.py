"""Does training on the tables help? Held-out success of a team before and after DPO and GRPO, over seeds.

    .venv/bin/python -m research.training [--seeds 3] [--tasks 24] [--dtype float32] [--arm dpo ...] [--data FOLDER]

For every seed: fresh two-hop tasks and held-out ones (other inns, other people), sampling, credit, blame, repairs; then
from the same tables DPO on the pairs, GRPO with the advantages `grpo` and GRPO with `sharp`, each from the first
policy. Success on the held-out tasks is compared task by task; 95 % bootstrap intervals draw seeds, then tasks in them.
`--arm`: dpo, grpo or sharp; all by default. What is there already is not done again: the same command resumes, and
repeats the table from the store.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.core.libraries import hush
from apportion.pipeline.runs.sql import query
from apportion.pipeline.tasks.multihop import generate, write
from research.intervals import interval

ARMS = {"before": "", "dpo": "dpo", "grpo": "grpo-grpo", "sharp": "grpo-sharp"}
"""What is compared -> trainer and advantage method."""


def main(
    seeds: int = 3,
    tasks: int = 24,
    held_out: int = 24,
    failures: int = 18,
    dtype: str = "auto",
    arm: Annotated[list[str] | None, typer.Option()] = None,
    data: Path = Path("data/benchmark"),
) -> None:
    """Run every seed, and print success by arm."""
    arms = {name: ARMS[name] for name in ("before", *(arm or list(ARMS)[1:]))}
    hush(data)
    console = Console(width=120)
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in arms}
    shown = Table(
        "seed", "pairs", "sequences", *arms, title=f"held-out success, {held_out} tasks x 3 rollouts a seed, {dtype}"
    )
    for seed in range(seeds):
        start = time.perf_counter()
        counts = one_seed(seed, arms, (tasks, held_out), data, f"model.dtype={dtype}", f"failures.limit={failures}")
        for name in arms:
            found[name].append(by_task(data, f"seed{seed}-{name}"))
        means = [f"{rates[-1].mean():.3f}" for rates in found.values()]
        shown.add_row(str(seed), str(counts.get("pairs", "")), str(counts.get("rows", "")), *means)
        console.print(f"seed {seed}: {time.perf_counter() - start:.0f} s")
    shown.add_row("all", "", "", *(f"{np.concatenate(rates).mean():.3f}" for rates in found.values()))
    for name in arms:
        gains = [after - before for after, before in zip(found[name], found["before"], strict=True)]
        if name != "before":
            shown.add_row(f"gain of {name}", "", "", interval(gains), end_section=True)
    console.print(shown)


def one_seed(seed: int, arms: dict[str, str], sizes: tuple[int, int], data: Path, *sets: str) -> dict[str, int]:
    """Everything of one seed; what stands is not done again. `sizes`: training tasks and held-out ones."""
    from apportion.flows.common import light
    from apportion.flows.stage import play
    from apportion.pipeline.runs.run import Run
    from apportion.pipeline.stages import train
    from apportion.pipeline.stages.blame import Blame
    from apportion.pipeline.stages.credit import Credit
    from apportion.pipeline.stages.sample import Sample

    for split, number in zip(("train", "test"), sizes, strict=True):
        write(generate(number, seed=100 + seed, split=split), data / f"world{seed}" / split)
    counts = {}
    with light():
        config = configured(seed, "train", f"seed{seed}", data, "annotate.on=all", *sets)
        run = config.run_id
        play(Sample(config))
        play(Credit(Run(config, run)))
        play(Blame(Run(config, run)))
        for arm, name in arms.items():
            model = "smollm2"
            if name:
                kind, _, method = name.partition("-")
                section = config.advantages.model_copy(update={"method": method or "grpo"})
                planned = train.plan(
                    config.model_copy(update={"advantages": section}), run, "dpo" if kind == "dpo" else "grpo"
                )
                counts["pairs" if kind == "dpo" else "rows"] = planned.data.num_rows
                model = str(train.run(planned))
            held_out = ("sample.group_size=3", "run.held_out=true")
            play(Sample(configured(seed, "test", f"seed{seed}-{arm}", data, f"model.path={model}", *held_out, *sets)))
    return counts


def configured(seed: int, split: str, name: str, data: Path, *sets: str) -> Config:
    """The demo's team on one world."""
    world = data / f"world{seed}" / split
    owners, homes = str(world / "owners.jsonl"), str(world / "homes.jsonl")
    return load_config(
        Path("configs/demo.toml"),
        (
            f"run.name={name}", f"run.data={data}", f"run.seed={seed}", f"tasks.path={world / 'tasks.jsonl'}",
            f'team.tools.owners.documents="{owners}"', f'team.tools.homes.documents="{homes}"',
            f'team.tools.registers.documents=["{owners}", "{homes}"]', "sample.solo=false", "train.limit=112", *sets,
        ),
    )  # fmt: skip


def by_task(data: Path, run: str) -> NDArray[np.float64]:
    """Success share of every task of a run, in the order of the tasks."""
    rows: list[dict[str, Any]] = query(
        data / "runs",
        f"SELECT avg(success::INT) AS rate FROM trajectories WHERE run_id = '{run}' AND origin = 'sampled' "
        "GROUP BY task_id ORDER BY task_id",
    ).to_pylist()
    return np.array([row["rate"] for row in rows])


if __name__ == "__main__":
    typer.run(main)
