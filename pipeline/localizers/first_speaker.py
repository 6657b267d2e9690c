"""A floor: whoever speaks first."""

from __future__ import annotations

from typing import ClassVar, Literal

from apportion.pipeline.localizers._floors import Speaker


class FirstSpeaker(Speaker):
    """The agent that speaks first, users left out, and that message. Status: ours. Cost: none."""

    title: ClassVar[str] = "first speaker"
    sign: ClassVar[Literal[-1, 1]] = -1
