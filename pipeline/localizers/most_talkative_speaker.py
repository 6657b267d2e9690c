"""A floor: whoever speaks most often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from apportion.pipeline.localizers._floors import by_agent
from apportion.pipeline.localizers.base import Localizer, Means, Verdict
from apportion.pipeline.trajectory.case import Case


class MostTalkativeSpeaker(Localizer):
    """The agent with the most messages, users left out, and any of its steps. Status: ours. Cost: counting."""

    title: ClassVar[str] = "most talkative speaker"

    def judge(self, cases: Sequence[Case], means: Means) -> list[Verdict]:
        """Agents by their messages."""
        return [self._judge(case) for case in cases]

    def _judge(self, case: Case) -> Verdict:
        spoken = Counter(step.agent for step in case.steps if step.role != "user")
        return by_agent(case, {agent: float(spoken[agent]) for agent in case.agents})
