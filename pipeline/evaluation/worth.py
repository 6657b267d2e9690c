"""What is known of the localizers that read logs of others: how often they are right, beside what guessing gets.

Measured on labels that people gave, on logs kept apart from all that was chosen or trained (docs/evaluate.md).
"""

from __future__ import annotations

from collections.abc import Collection

_LEARNED = (
    "it looks for the decisive step; on logs of its own corpus kept apart it names the step in 45.0 % and the agent in "
    "63.3 % (automatically built teams, 60 logs), in 14.8 and 44.4 % (hand-crafted, 27), no better than place and "
    "speaker alone (MRR +0.015 [-0.063, +0.099] over structure); "
    "on 127 failures of a system that it never saw it names the step in 0.8 %, where guessing gets 7.2 %: do not rely "
    "on it in logs unlike its own"
)
_VALUE_DROP = (
    "it looks for the first wrong step; with the model of 135M parameters it names the labelled step in 7 of 97 logs "
    "(7 %), where guessing gets 10 %"
)

WORTH = {"learned": _LEARNED, "value_drop": _VALUE_DROP, "learned_by_value": f"{_VALUE_DROP}; it is no longer used"}
"""By localizer: a sentence on logs of others. In stores of older versions `learned_by_value` stood in for `learned`, on
questions that its weights had seen."""


def worth_of(localizers: Collection[str]) -> list[str]:
    """A line on each of these localizers of which it is known."""
    return [f"what {name} is worth on logs of others: {WORTH[name]}" for name in sorted({*localizers} & WORTH.keys())]
