"""What a run would be refused for, found before an engine is started: dry runs and runs ask the same."""

from __future__ import annotations

from apportion.pipeline.core.config import AgentConfig, Config
from apportion.pipeline.core.dry_run import is_dry
from apportion.pipeline.core.registry import family
from apportion.pipeline.engines.policy import policies_of, tokenizers_of
from apportion.pipeline.play.team import load_team
from apportion.pipeline.runs.store import Store
from apportion.pipeline.verifiers import get_verifier


def to_continue(config: Config, run: str, pending: bool) -> None:
    """Raise UserError where recorded runs could not be played on."""
    Store(config.store_root).refuse_held(run)
    if pending:
        check_team(config)
        check_verifier(config)
        tokenizers_of(policies_of(config).by_name)


def check_team(config: Config) -> None:
    """Raise UserError where the team cannot be made. A dry run imports no code of the user's own: there the documents
    of the project's own tools are looked at alone.
    """
    team, is_own = config.team, family("tools").is_own
    if not (
        is_dry() and (family("teams").is_own(team.topology) or any(is_own(tool.kind) for tool in team.tools.values()))
    ):
        load_team(team)
        return
    ours = {name: tool for name, tool in team.tools.items() if not is_own(tool.kind)}
    alone = [AgentConfig(name="reader", role="solo")]
    load_team(team.model_copy(update={"topology": "solo", "agents": alone, "solo": None, "tools": ours}))


def check_verifier(config: Config) -> None:
    """Raise UserError where there is no such verifier; one of the user's own is not imported by a dry run."""
    if not (is_dry() and family("verifiers").is_own(config.tasks.verifier)):
        get_verifier(config.tasks.verifier, **config.tasks.verifier_options)
