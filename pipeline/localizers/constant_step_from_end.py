"""A floor: the place that was labelled most often, counted from the end of the log."""

from apportion.pipeline.localizers._floors import ConstantStep


class ConstantStepFromEnd(ConstantStep):
    """The place, counted from the end, that was labelled most often in training logs of the same kind.

    A log that is too short for it gets the next commonest. Status: ours. Degenerate: without labelled logs it names
    nothing. Cost: counting.
    """

    title = "constant step from end"
    from_end = True
