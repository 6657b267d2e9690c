"""What the outline of a log tells without a word of it being read: places, speakers, roles, addressees and lengths.

The floor `structure` sees all of these columns; the signal keeps six, since with a hundred logs every further column
costs more than it tells. Status: ours. Degenerate: in a log of one step the places are 0. Cost: linear in the steps.
"""

from __future__ import annotations

import numpy as np

from apportion.pipeline.localizers.signals.base import Columns, Signal
from apportion.pipeline.trajectory.case import Case


def structure(case: Case) -> Columns:
    """Columns by name, a number per step.

    * places: `start` and `end` are log(1 + steps before, after); `place` in [0, 1] and its square; `first`, `second`,
      `last` are flags;
    * speaker: `opens` and `closes` mark its first and last message, `turn` is log(1 + its messages before), `spoken`
      and `written` its shares of the log's messages and characters, `before` and `after` whether a neighbouring step is
      its own;
    * role and addressee: `user`, `tool`, `system`; `addresses` somebody, `answers` the one who was just addressed;
    * length: log(1 + characters), the same against the log's mean and against the speaker's mean, `empty`, `longest`.
    """
    steps = case.steps
    n = len(steps)
    at = np.arange(n, dtype=float)
    agents = [step.agent for step in steps]
    names, speaker = np.unique(agents, return_inverse=True)
    characters = np.array([len(step.text) for step in steps], dtype=float)
    size = np.log1p(characters)
    own = np.eye(len(names))[speaker]
    messages = own.sum(0)
    turn = ((np.cumsum(own, axis=0) - own) * own).sum(1)
    place = at / max(n - 1, 1)
    same = [agents[i] == agents[i - 1] for i in range(1, n)]
    return {
        "start": np.log1p(at),
        "end": np.log1p(n - 1 - at),
        "place": place,
        "place²": place**2,
        "first": at == 0,
        "second": at == 1,
        "last": at == n - 1,
        "opens": turn == 0,
        "closes": turn == messages[speaker] - 1,
        "turn": np.log1p(turn),
        "spoken": messages[speaker] / max(n, 1),
        "written": (characters @ own)[speaker] / max(characters.sum(), 1.0),
        "before": [False, *same][:n],
        "after": [*same, False][:n],
        "user": [step.role == "user" for step in steps],
        "tool": [step.role == "tool" for step in steps],
        "system": [step.role == "system" for step in steps],
        "addresses": [step.recipient is not None for step in steps],
        "answers": [i > 0 and steps[i - 1].recipient == steps[i].agent for i in range(n)],
        "length": size,
        "length_in_log": size - (size.mean() if n else 0.0),
        "length_of_speaker": size - ((size @ own) / messages)[speaker],
        "empty": [not step.text.strip() for step in steps],
        "longest": characters == characters.max(initial=0.0),
    }


def _kept(case: Case) -> Columns:
    columns = structure(case)
    return {name: columns[name] for name in ("start", "place", "first", "last", "length", "length_in_log")}


STRUCTURE = Signal("structure", structure)
outline = Signal("outline", _kept)
