"""A floor: whoever speaks last."""

from __future__ import annotations

from typing import ClassVar, Literal

from apportion.pipeline.localizers._floors import Speaker


class LastSpeaker(Speaker):
    """The agent that speaks last, users left out, and that message. Status: ours. Cost: none."""

    title: ClassVar[str] = "last speaker"
    sign: ClassVar[Literal[-1, 1]] = 1
