"""Who is an agent and who is the one that asks, where the roles of a chat do not say it.

AutoGen writes a chat as one side saw it: the others stand under `user`, all with their names. In a group chat all do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from apportion.pipeline.importers.reading.answers import is_sign_off
from apportion.pipeline.importers.reading.notes import Remark
from apportion.pipeline.importers.reading.speech import Said
from apportion.pipeline.trajectory.people import is_person, name_words

UNNAMED = "assistant"
"""The agent of every assistant message without a name."""

_ASKERS = {"user", "human"}
_WIDER = _ASKERS | {"customer", "client", "admin", "administrator", "requester", "enduser", "userproxy"}
_BESIDE = {"proxy", "agent", "input", "end", "the", "real", "simulator", "simulated"}
_UNDER_USER = "speakers under role `user` that are read as agents, since they have names of their own"
_AUTOGEN = "agents stand under role `user`, as AutoGen writes them: the first message is the question"
_FIRST_ASKS = "no message has a role: the first one is the question"
_NO_NAME = 'no assistant message has a `name` (or `agent`, `sender`, `source`), so all are one agent, "assistant"'
_SOME_NAMES = 'assistant messages without a name beside named ones go to the agent "assistant"'


@dataclass(frozen=True)
class Cast:
    """The messages with their roles settled, and what a reader should know of it."""

    said: tuple[Said, ...]
    remarks: tuple[Remark, ...]


def is_human(name: str) -> bool:
    """Is this the name of somebody who asks, where a message stands under `user`: a proxy, "customer", "Admin"?"""
    words = set(name_words(name))
    return {"user", "proxy"} <= words or (bool(words & _WIDER) and words <= _WIDER | _BESIDE)


def settle(said: Sequence[Said], question: str | None) -> Cast:
    """Every message with role system, user, assistant or tool; what agents wrote has role assistant.

    `question` is the record's own, if it has one: then the first message need not be the question.
    """
    messages = _after_handoffs([_with_role(one) for one in said])
    owners = {one.name for one in messages if one.role == "assistant" and one.name}
    # SWE-agent's `agent` says in whose log a message stands; only a `name` says who wrote it.
    messages = [
        replace(one, name=None) if one.role == "user" and one.key == "agent" and one.name in owners else one
        for one in messages
    ]
    spoken = [one for one in messages if one.role in ("user", "assistant")]
    if not spoken:
        return Cast(tuple(messages), ())
    first, users = spoken[0], [one for one in spoken if one.role == "user"]
    others = {one.name for one in users if one.name and not is_human(one.name)}
    roleless = all(one.role is None or one.role not in ("user", "assistant") for one in said) and not users
    flipped = bool(first.role == "assistant" and first.name and others and all(one.name for one in users))
    crowd = len(users) == len(spoken) and bool(others - {first.name})
    if flipped or crowd or (roleless and len({one.name for one in spoken}) > 1):
        asks = question is None or question.strip() == first.content.text.strip()
        asker = first.name if asks and not _speaks_again(spoken) else None
        messages = [replace(one, role="user") if asks and one is first else _in_crowd(one, asker) for one in messages]
        remarks = [Remark(_FIRST_ASKS if roleless else _AUTOGEN)]
    else:
        messages, remarks = _among_users(messages, spoken, users)
    return Cast(tuple(messages), (*remarks, *_naming(messages)))


def _with_role(one: Said) -> Said:
    name = one.name or ""
    if one.role is None:
        return replace(one, role="user" if is_human(name) else "system" if name.lower() == "system" else "assistant")
    return replace(one, role="user") if one.role == "assistant" and is_person(name) and one.key == "name" else one


def _in_crowd(one: Said, asker: str | None) -> Said:
    """A message of a chat whose roles say only from whose side it was written."""
    if one.role not in ("user", "assistant") or one.name is None:
        return one
    return replace(one, role="user" if one.name == asker or is_human(one.name) else "assistant")


def _speaks_again(spoken: Sequence[Said]) -> bool:
    """Does the first speaker say more later than that the talk is over?"""
    first, *rest = spoken
    return any(
        one.name == first.name and (one.calls or (one.content.spoken.strip() and not is_sign_off(one.content.spoken)))
        for one in rest
    )


def _among_users(
    messages: Sequence[Said], spoken: Sequence[Said], users: Sequence[Said]
) -> tuple[list[Said], list[Remark]]:
    """Named speakers under `user` beside the one who asks are agents, unless only the people have names."""
    asker = users[0].name if users else None
    only_people = asker is None and not any(one.name for one in spoken if one.role == "assistant")
    settled, remarks = [], []
    for one in messages:
        if one.role == "user" and one.name and one.name != asker and not is_human(one.name) and not only_people:
            remarks.append(Remark(repr(one.name), "message", _UNDER_USER))
            one = replace(one, role="assistant")
        settled.append(one)
    return settled, remarks


def _after_handoffs(said: Sequence[Said]) -> list[Said]:
    """Items of the Responses interface have no names; a handoff's output, {"assistant": name}, tells who is next."""
    if not any(one.item for one in said):
        return list(said)
    current: str | None = None
    named = []
    for one in said:
        if one.role == "assistant" and one.name is None:
            one = replace(one, name=current)
        for result in one.results:
            current = _next_agent(result.text) or current
        named.append(one)
    return named


def _next_agent(text: str) -> str | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    name = value.get("assistant") if isinstance(value, dict) and len(value) == 1 else None
    return name if isinstance(name, str) else None


def _naming(messages: Sequence[Said]) -> list[Remark]:
    names = [one.name for one in messages if one.role == "assistant"]
    if not any(names):
        return [Remark(_NO_NAME)]
    return [Remark(_SOME_NAMES, "message")] * sum(name is None for name in names)
