"""What a run would be refused for, found before an engine is started: dry runs and runs ask the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from apportion.pipeline.core.config import AgentConfig, Config
from apportion.pipeline.core.dry_run import is_dry
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.engines import running
from apportion.pipeline.engines.checkpoints import PROVENANCE, resolve_model
from apportion.pipeline.play.play import first_prompts
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.blame import FailurePlan
from apportion.pipeline.stages.credit import AnnotatePlan
from apportion.pipeline.stages.imports import ImportPlan
from apportion.pipeline.stages.loop import Round
from apportion.pipeline.stages.sample import SamplePlan, claimed
from apportion.pipeline.stages.sample import plan as sample_plan
from apportion.pipeline.teams.load import Team, load_team
from apportion.pipeline.trajectory.task import Task
from apportion.pipeline.values import likelihood, recount, regenerate, replay
from apportion.pipeline.verifiers import get_verifier


def to_sample(planned: SamplePlan) -> None:
    """Raise UserError where the run's name is taken, another process works on it, or the model cannot speak."""
    store, run = Store(planned.config.store_root), planned.config.run_id
    claimed(store, run, planned.spec)
    store.refuse_held(run)
    if planned.pending:
        tokenizer = to_speak(planned.config)
        for team in (planned.team, planned.solo) if planned.config.sample.solo else (planned.team,):
            _template_takes(planned.config, team, planned.tasks[0], tokenizer)


def _template_takes(config: Config, team: Team, task: Task, tokenizer: Any) -> None:
    """Raise UserError where the model's chat template refuses a team's first prompts (instructions, say)."""
    try:
        first_prompts(team, task, tokenizer)
    except TemplateError as error:
        raise UserError(
            f"model.path = {config.model.path!r}: its chat template refuses the prompts of team {team.name} ({error}); "
            "change the team's instructions and examples, or the model"
        ) from error


def to_import(planned: ImportPlan) -> None:
    """Raise UserError where the run's name is taken, or another process works on it."""
    store = Store(planned.config.store_root)
    claimed(store, planned.run, planned.spec)
    store.refuse_held(planned.run)


def to_annotate(config: Config, run: str, credit: AnnotatePlan, blame: FailurePlan | None) -> None:
    """Raise UserError where the pending shards need a model, a team or a verifier that is not to be had."""
    Store(config.store_root).refuse_held(run)
    values = {shard.rules.value for shard in credit.pending}
    continued = replay.NAME in values or (blame is not None and any(not shard.imported for shard in blame.pending))
    if continued and config.team.agents:
        _team(config)
    if continued or values & {recount.NAME, regenerate.NAME}:
        _verifier(config)
    if continued or values & {likelihood.NAME, regenerate.NAME} or (blame is not None and blame.asks_scorer):
        to_speak(config)


def to_continue(config: Config, run: str, pending: bool) -> None:
    """Raise UserError where recorded runs could not be played on."""
    Store(config.store_root).refuse_held(run)
    if pending:
        _team(config)
        _verifier(config)
        to_speak(config)


def _team(config: Config) -> None:
    """Raise UserError where the team cannot be made. A dry run imports no code of the user's own: there the documents
    of the project's own tools are looked at alone.
    """
    team = config.team
    if not (is_dry() and any(map(_dotted, (team.topology, *(tool.kind for tool in team.tools.values()))))):
        load_team(team)
        return
    ours = {name: tool for name, tool in team.tools.items() if not _dotted(tool.kind)}
    alone = [AgentConfig(name="reader", role="solo")]
    load_team(team.model_copy(update={"topology": "solo", "agents": alone, "solo": None, "tools": ours}))


def _verifier(config: Config) -> None:
    """Raise UserError where there is no such verifier; one of the user's own is not imported by a dry run."""
    if not (is_dry() and _dotted(config.tasks.verifier)):
        get_verifier(config.tasks.verifier)


def _dotted(name: str) -> bool:
    return "." in name or ":" in name


def to_train(config: Config, run: str) -> None:
    """Raise UserError where the checkpoint that the training starts from cannot be read."""
    Store(config.store_root).refuse_held(run)
    to_load(config)


def to_loop(rounds: Sequence[Round]) -> None:
    """Raise UserError where the first iteration could not be sampled, or a checkpoint could not be written.

    Whatever a later one is refused for follows from what the ones before it make.
    """
    to_sample(sample_plan(rounds[0].config))
    for one in rounds:
        Store(one.config.store_root).refuse_held(one.config.run_id)
        if one.out.exists() and not (one.out / PROVENANCE).is_file():
            raise UserError(f"{one.out}: exists and is no checkpoint of ours; remove it, or choose another run.name")


def to_speak(config: Config) -> Any:
    """The model's tokenizer; UserError where its folder holds no checkpoint that can be prompted as a chat."""
    to_load(config)
    return running.tokenizer_for(config.model, config.data_root)


def to_load(config: Config) -> None:
    """Raise UserError where a checkpoint's configuration or the heads of its weights cannot be read."""
    path = resolve_model(config.model.path, data_root=config.data_root, hub=config.model.hub)
    named = f"model.path = {config.model.path!r}"
    try:
        told = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{named}: config.json is not JSON ({error}); give a whole checkpoint") from error
    if not isinstance(told, dict) or not told.get("model_type"):
        raise UserError(f"{named}: config.json names no model_type; give a checkpoint folder of transformers")
    _weights(named, sorted(path.glob("*.safetensors")))


def _weights(named: str, files: Iterable[Path]) -> None:
    """Raise UserError where a file of weights is cut short or none at all. Reads its head alone."""
    from safetensors import SafetensorError, safe_open

    for file in files:
        try:
            with safe_open(str(file), framework="numpy") as opened:
                empty = not opened.keys()
        except (SafetensorError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{named}: {file.name} is damaged ({reason}); copy or download it again") from error
        if empty:
            raise UserError(f"{named}: {file.name} holds no weights; give a whole checkpoint")
