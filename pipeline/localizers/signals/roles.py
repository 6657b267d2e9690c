"""What kind of agent speaks, told by its role and by words in its name, so that it carries over to teams never seen.

Columns: tool, orchestrator, surfer (works a browser or files), assistant, verifier, expert (anybody else).

Status: ours. Degenerate: the user has none of the kinds. Cost: none to speak of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from apportion.pipeline.localizers.signals.base import from_text, is_tool
from apportion.pipeline.trajectory.case import Case, Step

ROLES = ("tool", "orchestrator", "surfer", "assistant", "verifier", "expert")


def role_of(step: Step) -> str:
    """One of ROLES, or "user"."""
    name = step.agent.casefold()
    if is_tool(step):
        return "tool"
    if step.role == "user":
        return "user"
    if "orchestrator" in name or "manager" in name:
        return "orchestrator"
    if "surfer" in name:
        return "surfer"
    if name == "assistant":
        return "assistant"
    return "verifier" if "verif" in name or "valid" in name else "expert"


def _read(case: Case) -> Sequence[Iterable[float]]:
    roles = [role_of(step) for step in case.steps]
    return [[float(role == kind) for role in roles] for kind in ROLES]


signal = from_text("roles", ROLES, _read)
