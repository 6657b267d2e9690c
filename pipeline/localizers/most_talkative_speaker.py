"""A floor: whoever speaks most often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from apportion.pipeline.localizers._floors import by_agent
from apportion.pipeline.localizers.base import Localizer, Means, Verdict
from apportion.pipeline.trajectory.case import Case


class MostTalkativeSpeaker(Localizer):
    """The agent with the most messages, users left out, and any of its steps. Status: ours. Cost: counting."""

    title = "most talkative speaker"

    def judge(self, cases: Sequence[Case], means: Means) -> list[Verdict]:
        spoken = [Counter(step.agent for step in case.steps if step.role != "user") for case in cases]
        counts = zip(cases, spoken, strict=True)
        return [by_agent(case, [float(count[agent]) for agent in case.agents]) for case, count in counts]
