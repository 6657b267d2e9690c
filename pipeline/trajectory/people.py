"""Who is a person, told by a name: people are neither credited nor blamed, for nobody here trains them."""

from __future__ import annotations

import re

_PERSON = frozenset({"user", "human", "customer", "userproxy"})
_BESIDE_PERSON = frozenset({"proxy", "end", "input", "the", "real", "simulator", "simulated"})
_PROXY = frozenset({"proxy", "agent"})


def name_words(name: str) -> list[str]:
    """The words of a name in small letters: "WebSurfer" and "web_surfer2" are both web, surfer."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W\d_]+", parted.casefold())


def is_person(name: str) -> bool:
    """Whether a name says that its bearer is a person: "UserProxyAgent" does, "user_researcher" does not."""
    words = set(name_words(name))
    rest = words - _PERSON
    proxy = bool(words & {"proxy", "userproxy"})
    return words != rest and rest <= _BESIDE_PERSON | (_PROXY if proxy else frozenset())
