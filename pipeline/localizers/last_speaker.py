"""A floor: whoever speaks last."""

from apportion.pipeline.localizers._floors import Speaker


class LastSpeaker(Speaker):
    """The agent that speaks last, users left out, and that message. Status: ours. Cost: none."""

    title = "last speaker"
    sign = 1
