"""Stage: the plan of an online-style loop, whose state is nothing but the runs and checkpoints that stand.

The team's policy is what is trained: agents with a policy of their own keep it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import MAX_NAME
from apportion.pipeline.engines.checkpoints import PROVENANCE
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.advantages import chosen_method
from apportion.pipeline.stages.sample import Sample, gather_tasks


@dataclass(frozen=True)
class Round:
    """One iteration: the configuration of its run, and the checkpoint that it is to leave behind."""

    number: int
    config: Config
    out: Path

    def by(self, model: str) -> Round:
        """The same iteration with the team's policy at `model`."""
        section = self.config.model.model_copy(update={"path": model})
        return replace(self, config=self.config.model_copy(update={"model": section}))


def plan(config: Config) -> list[Round]:
    """The iterations. Each is a run of its own, named after the loop, on its own tasks, which go round."""
    loop = config.loop
    if not config.run.name:
        raise UserError("config: run.name is empty; a loop needs one: --set run.name=NAME")
    most = MAX_NAME - len(f"-{loop.iterations - 1}")
    if len(config.run.name) > most:
        raise UserError(
            f"config: run.name is too long for a loop ({len(config.run.name)} characters, at most {most}: every "
            "iteration adds its number)"
        )
    tasks, _ = gather_tasks(config)
    if loop.tasks > len(tasks):
        raise UserError(f"config: loop.tasks = {loop.tasks}: there are only {len(tasks)} tasks")
    starts = len(tasks) - loop.tasks + 1
    rounds = []
    for number in range(loop.iterations):
        name = f"{config.run.name}-{number}"
        values = config.model_dump(mode="json")
        values["run"] |= {"name": name, "seed": (config.run.seed + number) % 2**32}
        values["tasks"] |= {"offset": config.tasks.offset + number * loop.tasks % starts, "limit": loop.tasks}
        values["sample"]["solo"] = False
        values |= _annotated(config, values)
        rounds.append(Round(number, Config.model_validate(values), config.data_root / "checkpoints" / name))
    return rounds


def _annotated(config: Config, values: dict[str, Any]) -> dict[str, Any]:
    """What the requested training asks to be annotated, and nothing else."""
    needs = chosen_method(config)[0].needs if config.loop.trainer == "grpo" else frozenset()
    credit = "all" if "credits_on_failures" in needs else "successes" if needs & {"credits", "message_credits"} else ""
    blame = config.loop.trainer == "dpo" or "localizations" in needs
    if blame and config.failures.localizer == "none":
        raise UserError("config: failures.localizer = none: this training needs first errors; choose monte_carlo")
    unrepaired = {"alternatives": 0, "contrast": False} if config.loop.trainer == "grpo" else {}
    return {
        "annotate": {**values["annotate"], "on": credit or "none"},
        "failures": {**values["failures"], **unrepaired, "localizer": config.failures.localizer if blame else "none"},
    }


def ready(rounds: Sequence[Round]) -> None:
    """Raise UserError where the first iteration could not be sampled, or a checkpoint could not be written.

    Whatever a later one is refused for follows from what the ones before it make.
    """
    Sample(rounds[0].config).ready()
    for one in rounds:
        Store(one.config.store_root).refuse_held(one.config.run_id)
        if one.out.exists() and not (one.out / PROVENANCE).is_file():
            raise UserError(f"{one.out}: exists and is no checkpoint of ours; remove it, or choose another run.name")
