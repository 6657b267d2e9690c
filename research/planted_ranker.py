"""Where a failed run of our own went wrong: a ranker over what each message of it says, costs and surprises.

Signals of a message, all made in one way for every message whoever wrote it (nothing is read from the sampler's own
columns, so a planted message looks like any other):

* consistency: numbers and names that nothing in the writer's view contains (`new`), those that its last tool result
  holds and it leaves out (`left_out`), whether it names nothing at all (`bare`), or more than was found (`extra`); by
  what the message does (`new_in_...`); which message is the first to do so (`first_...`, `first` for any of them but
  a new name in a tool call, which a search may well survive);
* value: fall and rise of the reference's likelihood at the message (`localizers.value_drop`), whether it
  comes right after the peak, whether it is the largest fall;
* surprise: mean and largest negative log-probability (nats) of its tokens given its writer's prompt;
* structure: what it does (asks, calls, reports, answers), whether it opens or ends the run, its place.

Status: ours. Degenerate: a log without a reference gets no value columns (zeros). Cost: two readings of a log.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.engines.base import Engine, ScoreRequest
from apportion.pipeline.faults.faults import deed, entities, names_it
from apportion.pipeline.localizers.base import TEXT_ONLY, Means, Verdict
from apportion.pipeline.localizers.ranking.ranker import Options, Ranker, fit
from apportion.pipeline.localizers.value_drop import prompts_of, values_of
from apportion.pipeline.trajectory.case import Case, Label, case_of
from apportion.pipeline.trajectory.context import context_of
from apportion.pipeline.trajectory.log import Log
from apportion.pipeline.trajectory.render import Chat, chat, prompt_ids, text_ids

Floats = NDArray[np.float64]

FAMILIES: dict[str, tuple[str, ...]] = {
    "consistency": (
        "new",
        "left_out",
        "bare",
        "extra",
        "first_new",
        "first_left_out",
        "first_extra",
        "new_in_ask",
        "new_in_call",
        "new_in_report",
        "new_in_answer",
        "bare_report",
        "first",
    ),
    "value": ("fall", "rise", "after_peak", "largest_fall"),
    "surprise": ("mean", "most", "mean_in_log", "largest_mean", "largest_most"),
    "structure": ("asks", "calls", "reports", "answers", "opens", "ends", "place"),
}
COLUMNS = tuple(f"{family}.{name}" for family, names in FAMILIES.items() for name in names)
_DEEDS = ("ask", "call", "report", "answer")
SHIPPED = Path(__file__).with_name("planted_ranker.json")


def measure(
    logs: Sequence[Log], engine: Engine | None, cue: str, progress: Callable[[int], None] | None = None
) -> dict[str, Floats]:
    """The signals of each log's turns, by trajectory: shape (turns, columns of `COLUMNS`), all finite.

    Without an engine the columns of `value` and `surprise` are 0.
    """
    if engine is None:
        return {log.trajectory_id: _without_model(log) for log in logs}
    falls = _values(logs, engine, cue, progress)
    asked = [surprise_requests(log, engine) for log in logs]
    scores = iter(engine.score([request for some in asked for request in some], progress))
    result = {}
    for log, drops, some in zip(logs, falls, asked, strict=True):
        costs = [[-one for one in next(scores).logprobs] for _ in some]
        parts = [consistency(log), drops, _surprise(costs), _structure(log)]
        result[log.trajectory_id] = np.concatenate(parts, axis=1)
    return result


def consistency(log: Log) -> Floats:
    """What each turn names beyond its writer's view, and what it leaves out of it: columns of `FAMILIES`."""
    rows = []
    for step in log.turns:
        row = log.messages[step]
        view = [log.messages[i] for i in context_of(row, log.messages) if log.messages[i]["kind"] != "system"]
        seen = "\n".join(str(one["text"]) for one in view)
        said = list(dict.fromkeys(one.text for one in entities(str(row["text"]))))
        new = [name for name in said if not names_it(seen, name)]
        held = _held(log, step, view)
        left = [name for name in held if not names_it(str(row["text"]), name)]
        rows.append([len(new), len(left), not said, bool(held) and len(said) > len(held)])
    counts = np.array(rows, dtype=float).reshape(len(rows), 4)
    firsts = np.column_stack([_first(counts[:, i] > 0) for i in (0, 1, 3)])
    does = np.array([[deed(log.messages[step]) == name for name in _DEEDS] for step in log.turns]).reshape(-1, 4)
    where = np.column_stack([does * (counts[:, :1] > 0), does[:, 2] & (counts[:, 2] > 0)])
    said = (counts[:, 0] > 0) & ~does[:, 1] | (counts[:, 1] > 0) | (counts[:, 3] > 0) | where[:, 4]
    return np.column_stack([counts, firsts, where, _first(said)]).astype(float)


def surprise_requests(log: Log, engine: Engine) -> list[ScoreRequest]:
    """One request a turn: its text after the prompt that its writer had, cut at the context window."""
    chats: list[Chat] = []
    texts: list[str] = []
    for step in log.turns:
        row = log.messages[step]
        system = next(one for one in log.messages if one["kind"] == "system" and one["agent"] == row["agent"])
        shown = [
            (str(m["role"]), str(m["kind"]), str(m["agent"]), str(m["text"]))
            for m in (log.messages[i] for i in context_of(row, log.messages))
            if m["kind"] != "system"
        ]
        examples = json.loads(system["examples"]) if system["examples"] else ()
        chats.append(chat(str(row["agent"]), str(system["text"] or ""), examples, shown))
        texts.append(str(row["text"]) or " ")
    room = engine.max_model_len - 1
    return [
        ScoreRequest(prefix[-(room - len(target[: room // 2])) :], target[: room // 2])
        for prefix, target in zip(prompt_ids(engine.tokenizer, chats), text_ids(engine.tokenizer, texts), strict=True)
    ]


@dataclass(frozen=True)
class Ranked:
    """A ranker over the turns of a run; `signals` as `measure` gave them. Other steps of a case are never named.

    An agent's score is the probability that the wrong step is one of its own.
    """

    signals: Mapping[str, Floats]
    weights: Ranker | None = None
    families: tuple[str, ...] = tuple(FAMILIES)
    l2: float = 1.0
    name: str = "ranked"

    def fit(self, cases: Sequence[Case], means: Means = TEXT_ONLY) -> Ranked:
        """Learn from labelled cases whose step is a turn."""
        return replace(self, weights=fit([self._options(case) for case in cases], self.l2))

    def judge(self, cases: Sequence[Case], means: Means = TEXT_ONLY) -> list[Verdict]:
        """The log-probability of each turn; minus infinity for what is no turn."""
        if self.weights is None:
            raise UserError("the localizer 'ranked' has no weights: fit it, or take Ranked.shipped")
        return [self._verdict(case, self.weights) for case in cases]

    @classmethod
    def shipped(cls, signals: Mapping[str, Floats], path: Path = SHIPPED) -> Ranked:
        """With the weights that come with the package. Raises UserError where the file does not fit this version."""
        told = json.loads(path.read_text(encoding="utf-8"))
        if tuple(told["columns"]) != COLUMNS:
            raise UserError(f"{path.name}: its columns are not this version's: fit the localizer again")
        return cls(signals, Ranker(np.array(told["weights"], dtype=float)))

    def _verdict(self, case: Case, weights: Ranker) -> Verdict:
        steps = np.full(len(case.steps), -np.inf)
        places = turns_of(case)
        agents = dict.fromkeys(case.agents, 0.0)
        if places:
            log_p = weights.log_p(self._x(case))
            steps[places] = log_p
            for place, value in zip(places, log_p, strict=True):
                agents[case.steps[place].agent] += float(np.exp(value))
        return Verdict(steps, agents)

    def _options(self, case: Case) -> Options:
        chosen = None
        if case.label is not None:
            indices = [case.steps[place].index for place in turns_of(case)]
            chosen = indices.index(case.label.step) if case.label.step in indices else None
        return Options(self._x(case), chosen)

    def _x(self, case: Case) -> Floats:
        keep = np.array([column.split(".")[0] in self.families for column in COLUMNS], dtype=float)
        return np.asarray(self.signals[case.case_id] * keep)


def case_of_fault(log: Log) -> Case:
    """A stored continuation of a fault as a case, labelled with the fault where the team then failed."""
    case, row = case_of(log), log.trajectory
    if row["success"] is not False:
        return case
    return replace(case, label=Label(int(row["fault_step"]), str(row["fault_agent"])))


def turns_of(case: Case) -> list[int]:
    """Places of the steps that agents wrote."""
    return [place for place, step in enumerate(case.steps) if step.role == "assistant"]


def _without_model(log: Log) -> Floats:
    turns, widths = len(log.turns), {name: len(columns) for name, columns in FAMILIES.items()}
    value, surprise = np.zeros((turns, widths["value"])), np.zeros((turns, widths["surprise"]))
    return np.concatenate([consistency(log), value, surprise, _structure(log)], axis=1)


def _held(log: Log, step: int, view: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the writer should pass on: the names of its last tool result, or for an answer of the last report."""
    last = view[-1] if view else None
    if last is None or (last["role"] != "tool" and not log.messages[step]["is_outcome"]):
        return []
    names = [one.text for one in entities(str(last["text"]))]
    if log.messages[step]["is_outcome"]:
        asked = "\n".join(str(one["text"]) for one in view[:-1])
        names = [name for name in names if not names_it(asked, name)]
    return list(dict.fromkeys(names))


def _values(logs: Sequence[Log], engine: Engine, cue: str, progress: Callable[[int], None] | None) -> list[Floats]:
    asked: list[list[ScoreRequest]] = []
    for log in logs:
        try:
            asked.append(prompts_of(log, engine.tokenizer, cue, engine.max_model_len))
        except ValueError:
            asked.append([])
    scores = iter(engine.score([request for some in asked for request in some], progress))
    found = [values_of([next(scores) for _ in some]) for some in asked]
    return [_falls(np.array(values), len(log.turns)) for log, values in zip(logs, found, strict=True)]


def _falls(values: Floats, turns: int) -> Floats:
    """Fall and rise at each turn, a flag on the turn after the value's peak, one on the largest fall."""
    result = np.zeros((turns, 4))
    if len(values) == turns + 1 and turns:
        change = np.diff(values)
        result[:, 0], result[:, 1] = np.maximum(-change, 0), np.maximum(change, 0)
        top = int(np.argmax(values))
        if top < turns:
            result[top, 2] = 1.0
        if change.min() < 0:
            result[int(np.argmin(change)), 3] = 1.0
    return result


def _surprise(costs: Sequence[Sequence[float]]) -> Floats:
    if not costs:
        return np.zeros((0, 5))
    mean = np.array([sum(one) / len(one) for one in costs])
    most = np.array([max(one) for one in costs])
    top = [np.arange(len(costs)) == int(np.argmax(one)) for one in (mean, most)]
    return np.column_stack([mean, most, mean - mean.mean(), *top]).astype(float)


def _structure(log: Log) -> Floats:
    turns = log.turns
    deeds = [deed(log.messages[step]) for step in turns]
    does = [[one == name for name in _DEEDS] for one in deeds]
    n = len(turns)
    edges = [[i == 0, i == n - 1, i / max(n - 1, 1)] for i in range(n)]
    columns = [*zip(*does, strict=True), *zip(*edges, strict=True)]
    return np.array(columns, dtype=float).T.reshape(n, 7)


def _first(flags: NDArray[np.bool_]) -> Floats:
    result = np.zeros(len(flags))
    if flags.any():
        result[int(np.argmax(flags))] = 1.0
    return result
