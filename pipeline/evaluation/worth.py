"""What is known of the localizers that read logs of others: how often they are right, beside what guessing gets.

Measured on labels that people gave, on logs kept apart from all that was chosen or trained (docs/evaluate.md).
"""

from __future__ import annotations

from collections.abc import Collection

LEARNED = "learned"
LEARNED_AT_HOME = (
    "it looks for the decisive step; on logs of its own corpus kept apart it names the step in 45.0 % and the agent in "
    "63.3 % (automatically built teams, 60 logs), in 14.8 and 44.4 % (hand-crafted, 27), no better than place and "
    "speaker alone (MRR +0.015 [-0.063, +0.099] over structure)"
)
LEARNED_ABROAD = (
    "on 127 failures of a system that it never saw it names the step in 0.8 %, where guessing gets 7.2 %: do not rely "
    "on it in logs unlike its own"
)
BY_VALUE = f"{LEARNED}_by_value"
"""What stood in for `learned`, in stores of older versions, on questions that its weights had seen."""
VALUE_DROP = (
    "it looks for the first wrong step; with the model of 135M parameters it names the labelled step in 7 of 97 logs "
    "(7 %), where guessing gets 10 %"
)

WORTH = {
    LEARNED: f"{LEARNED_AT_HOME}; {LEARNED_ABROAD}",
    "value_drop": VALUE_DROP,
    BY_VALUE: f"{VALUE_DROP}; it is no longer used",
}
"""By localizer: a sentence on logs of others."""


def worth_of(localizers: Collection[str]) -> list[str]:
    """A line on each of these localizers of which it is known."""
    return [f"what {name} is worth on logs of others: {WORTH[name]}" for name in sorted({*localizers} & WORTH.keys())]
