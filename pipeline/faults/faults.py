"""Errors of a known kind, planted at a known step of a success: labelled failures without an annotator.

* `wrong_number`: a number or name that a report or answer states is another one of the same kind;
* `wrong_tool_input`: a tool or helper is asked about another number or name;
* `dropped_fact`: a report breaks off before the first number or name that its reader did not know;
* `contradiction`: a report says the same again, of another number or name.

What stands in instead was said in the same place (agent, kind of message, order of the name in it) of another
trajectory of the shard and nowhere in this one, so that no word of it gives the fault away; a number without such
another one is moved by 1 to 9. Every choice is seeded by the ids of trajectory and step.

Status: ours. Degenerate: a report that names nothing new has no fault of its own. Cost: none but reading; the
continuation of each fault is about half a rollout.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from apportion.pipeline.core.ids import seed_of
from apportion.pipeline.trajectory.context import context_of
from apportion.pipeline.trajectory.log import Log

Kind = Literal["wrong_number", "wrong_tool_input", "dropped_fact", "contradiction"]
KINDS: tuple[Kind, ...] = get_args(Kind)


_ENTITY = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?|\b[A-Z][\w'’-]*(?: [A-Z][\w'’-]*)*")
_OPENERS = frozenset({
    "A", "An", "And", "Ask", "But", "Find", "He", "How", "I", "If", "In", "Is", "It", "Of", "On", "Or",
    "Please", "She", "So", "The", "Then", "They", "This", "To", "We", "What", "When", "Where", "Which", "Who",
    "Whose", "Why", "You",
})  # fmt: skip
"""Capitalised at the start of a sentence, and part of no name."""
_LOOSE_END = re.compile(r"[\s,;:]+(?:a|an|the|of|by|in|on|at|to|as|and|or|with|for|from|than)\s*$|[\s,;:$£€(]+$", re.I)

Place = tuple[str, str, int]


@dataclass(frozen=True)
class Fault:
    """`text` stands at the message `step` of `agent` instead of what it wrote."""

    kind: Kind
    step: int
    agent: str
    text: str


@dataclass(frozen=True)
class Entity:
    """A number or name in a text, at `start` to `end`."""

    text: str
    start: int
    end: int


def entities(text: str) -> list[Entity]:
    """Numbers, and runs of capitalised words without the words that only open a sentence, in order."""
    found = []
    for match in _ENTITY.finditer(text):
        start, words = match.start(), match.group().split(" ")
        while words and words[0] in _OPENERS:
            start += len(words.pop(0)) + 1
        if words:
            found.append(Entity(" ".join(words), start, match.end()))
    return found


def pool(logs: Iterable[Log]) -> dict[Place, list[str]]:
    """What agents name in each place: (agent, kind of message, order among the message's names)."""
    found: dict[Place, set[str]] = defaultdict(set)
    for log in logs:
        for step in log.turns:
            row = log.messages[step]
            for order, one in enumerate(entities(str(row["text"]))):
                found[str(row["agent"]), deed(row), order].add(one.text)
    return {place: sorted(names) for place, names in found.items()}


def deed(row: Mapping[str, Any]) -> str:
    """What an agent's message does: it answers, calls a tool, asks a helper or reports."""
    if row["is_outcome"]:
        return "answer"
    if row["tool_name"]:
        return "call"
    if row["recipient"] and not row["agent_call_id"]:
        return "ask"
    return "report"


def faults(log: Log, names: Mapping[Place, Sequence[str]], kinds: Sequence[Kind], each: int, seed: int) -> list[Fault]:
    """At most `each` different faults for one success, the kinds in turn, steps by lot."""
    lot = random.Random(seed_of(seed, "faults", log.trajectory_id))
    by_kind: dict[Kind, list[Fault]] = {kind: [] for kind in KINDS if kind in kinds}
    for step in log.turns:
        for one in _at(log, step, names, seed):
            if one.kind in by_kind:
                by_kind[one.kind].append(one)
    order = list(by_kind)
    lot.shuffle(order)
    for some in by_kind.values():
        lot.shuffle(some)
    chosen: list[Fault] = []
    while len(chosen) < each and any(by_kind.values()):
        chosen += [by_kind[kind].pop() for kind in order if by_kind[kind]]
    return chosen[:each]


def _at(log: Log, step: int, names: Mapping[Place, Sequence[str]], seed: int) -> list[Fault]:
    """The faults that can stand at one step."""
    row = log.messages[step]
    text, agent, does = str(row["text"]), str(row["agent"]), deed(row)
    said = entities(text)
    if not said:
        return []
    fresh = _fresh(log, step, said)
    wrong: Kind = "wrong_number" if does in ("report", "answer") else "wrong_tool_input"
    target = fresh[0] if fresh else said[-1]
    other = _other(log, step, said.index(target), target, names, seed)
    found: list[Fault] = []
    if other is not None and (fresh or does in ("ask", "call", "answer")):
        changed = text[: target.start] + other + text[target.end :]
        found.append(Fault(wrong, step, agent, changed))
        if does == "report":
            joint = " " if text.rstrip().endswith((".", "!", "?")) else ". "
            found.append(Fault("contradiction", step, agent, text.rstrip() + joint + changed.lstrip()))
    if does == "report" and fresh:
        rest = _trimmed(text[: target.start])
        if rest:
            found.append(Fault("dropped_fact", step, agent, rest))
    return found


def _fresh(log: Log, step: int, said: Sequence[Entity]) -> list[Entity]:
    """What the message names beyond the messages that its agent was asked with."""
    row = log.messages[step]
    own = (row["agent"], row["agent_call_id"])
    context = [log.messages[i] for i in context_of(row, log.messages)]
    others = [other for other in context if (other["agent"], other["agent_call_id"]) != own]
    asked = [str(other["text"]) for other in others if other["kind"] != "system" and other["role"] != "tool"]
    if row["is_outcome"]:
        asked = asked[:1]  # its reports are where the answer comes from
    known = "\n".join(asked)
    return [one for one in said if not names_it(known, one.text)]


def names_it(text: str, name: str) -> bool:
    """Does `name` stand in `text` as a whole, whatever the case?"""
    return re.search(rf"(?<![\w.]){re.escape(name)}(?!\w|\.\d)", text, re.IGNORECASE) is not None


def _other(
    log: Log, step: int, order: int, target: Entity, names: Mapping[Place, Sequence[str]], seed: int
) -> str | None:
    """A number or name for the place of `target`, one that this trajectory does not know; None without any."""
    row = log.messages[step]
    said = "\n".join([*(str(one["text"]) for one in log.messages), *log.task.references])
    is_number = target.text[0].isdigit()
    candidates = [
        name
        for name in names.get((str(row["agent"]), deed(row), order), ())
        if name[0].isdigit() == is_number and not names_it(said, name)
    ]
    lot = random.Random(seed_of(seed, "other", log.trajectory_id, step))
    if candidates:
        return lot.choice(candidates)
    return moved(target.text, lot) if is_number else None


def moved(number: str, lot: random.Random) -> str:
    """A number 1 to 9 off in its last digit's unit, never below zero, with as many decimals."""
    plain = number.replace(",", "")
    decimals = len(plain.partition(".")[2])
    value = round(float(plain) * 10**decimals)
    by = lot.randint(1, 9)
    value = value - by if value > by and lot.random() < 0.5 else value + by
    return f"{value / 10**decimals:.{decimals}f}"


def _trimmed(text: str) -> str:
    """Without the words that cannot end a sentence."""
    before = None
    while text != before:
        before, text = text, _LOOSE_END.sub("", text)
    return text.strip()
