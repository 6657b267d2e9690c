"""What the outline of a log tells without a word of it being read: places, speakers, roles, addressees and lengths.

`structure` needs no training. `Speakers` adds a column for each name that training logs share; all other names stand
apart only by what their owner does (role, share of the messages, who comes before and after).

Status: ours. Degenerate: a log of one step gives one row; its places are 0. Cost: linear in the steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.trajectory.case import Case

Floats = NDArray[np.float64]


def structure(case: Case) -> tuple[list[str], Floats]:
    """Column names and an array of shape (steps, columns), all finite. The names are the same for every case.

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
    names, speaker = np.unique(agents, return_inverse=True) if n else (np.array([]), np.zeros(0, dtype=np.int64))
    characters = np.array([len(step.text) for step in steps], dtype=float)
    size = np.log1p(characters)
    own = np.eye(len(names))[speaker] if n else np.zeros((0, 0))
    messages = own.sum(0)
    earlier = np.cumsum(own, axis=0) - own
    turn = (earlier * own).sum(1)
    place = at / max(n - 1, 1)
    same = np.array([agents[i] == agents[i - 1] for i in range(1, n)], dtype=float)
    addressed = [step.recipient is not None for step in steps]
    answers = [i > 0 and steps[i - 1].recipient == steps[i].agent for i in range(n)]
    columns: dict[str, Floats] = {
        "start": np.log1p(at),
        "end": np.log1p(n - 1 - at),
        "place": place,
        "place²": place**2,
        "first": _flag(i == 0 for i in range(n)),
        "second": _flag(i == 1 for i in range(n)),
        "last": _flag(i == n - 1 for i in range(n)),
        "opens": _flag(turn == 0),
        "closes": _flag(turn == messages[speaker] - 1),
        "turn": np.log1p(turn),
        "spoken": messages[speaker] / max(n, 1),
        "written": (characters @ own)[speaker] / max(characters.sum(), 1.0),
        "before": np.concatenate([[0.0], same])[:n],
        "after": np.concatenate([same, [0.0]])[:n],
        "user": _flag(step.role == "user" for step in steps),
        "tool": _flag(step.role == "tool" for step in steps),
        "system": _flag(step.role == "system" for step in steps),
        "addresses": _flag(addressed),
        "answers": _flag(answers),
        "length": size,
        "length_in_log": size - size.mean() if n else size,
        "length_of_speaker": size - ((size @ own) / messages)[speaker],
        "empty": _flag(not step.text.strip() for step in steps),
        "longest": _flag(characters == characters.max()) if n else characters,
    }
    return list(columns), np.column_stack(list(columns.values())).astype(float)


@dataclass(frozen=True)
class Speakers:
    """Names that enough training logs share. A name counts as a whole, in any case."""

    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, cases: Iterable[Case], least: int = 5) -> Speakers:
        """The names that speak in at least `least` of the cases, the commonest first."""
        seen = Counter(name for case in cases for name in sorted({agent.casefold() for agent in case.agents}))
        return cls(tuple(name for name, count in seen.most_common() if count >= least))

    def columns(self, case: Case) -> tuple[list[str], Floats]:
        """For each name whether it speaks the step, the step before and the step after: (steps, 3 x names)."""
        here = self.flags([step.agent for step in case.steps])
        edge = np.zeros((1, len(self.names)))
        before = np.concatenate([edge, here[:-1]])[: len(here)]
        after = np.concatenate([here[1:], edge])[: len(here)]
        labels = [f"{where}{name}" for where in ("", "after ", "before ") for name in self.names]
        return labels, np.concatenate([here, before, after], axis=1)

    def flags(self, agents: Sequence[str]) -> Floats:
        """Shape (agents, names): 1 where an agent bears the name."""
        said = [agent.casefold() for agent in agents]
        return np.array([[agent == name for name in self.names] for agent in said], dtype=float).reshape(
            len(said), len(self.names)
        )


def _flag(values: Iterable[object]) -> Floats:
    return np.fromiter((bool(value) for value in values), dtype=float)
