"""A floor: whoever speaks first."""

from apportion.pipeline.localizers._floors import Speaker


class FirstSpeaker(Speaker):
    """The agent that speaks first, users left out, and that message. Status: ours. Cost: none."""

    title = "first speaker"
    sign = -1
