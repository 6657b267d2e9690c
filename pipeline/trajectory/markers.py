"""Text is only text: no message may spell a token by which a chat template makes turns.

Whatever a tokenizer's added vocabulary spells (`<|eot_id|>`, `<|user|>`, `[INST]`) becomes one token wherever it is,
also inside a message, unless something stands inside it. So every such spelling in a text is broken up by a zero-width
space. What the eye cannot find is found by counting: a prompt holds as many added tokens as its template puts around
empty words, not one more and not one less. That catches normalizers (full-width letters, case, stripping) and texts
that spell a token only together with their neighbours; these are broken up where the tokenizer itself sees the token.

Not markers, unless the template puts them or they are declared special: whitespace, single characters and words, which
some vocabularies add for compression. The unknown token is not counted where ordinary text can give it.
Status: ours. Degenerate: a tokenizer without added vocabulary has no markers, and nothing is counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError

from apportion.pipeline.core.errors import UserError

Chat = list[dict[str, str]]
Ids = tuple[int, ...]
Shape = tuple[tuple[str, bool], ...]
"""Of each turn its role, and whether it says anything."""

SEPARATORS = ("\u200b", " ")
"""What breaks a token up: the second where a normalizer takes the first away."""
_ROUNDS = 8
_WORD = "qzword"
_UNHEARD_OF = "\ue000\u0378"
_WORDLIKE = re.compile(r"[\w '\u2019-]*")
_MARKUP = re.compile(r"<{1,2}[^<>\s]{1,40}>{1,2}|\[/?[A-Z][A-Z_]{1,40}\]")
"""Role marks that a template writes as plain text, as Llama 2 does with [INST]."""
_TRIED = (("system", "user", "assistant", "user"), ("user", "assistant", "user"))
"""Some templates refuse a system turn."""


class ForgedRolesError(UserError, ValueError):
    """A text gives a token that only the chat template may put, and cannot be broken up: its row is set aside."""


@dataclass(frozen=True, eq=False)
class Markers:
    """What of a tokenizer's vocabulary has power in a prompt.

    ids: the tokens that are counted, with their spelling. spelled: finds those spellings in a text that can be broken.
    """

    tokenizer: Any
    ids: dict[int, str]
    spelled: re.Pattern[str] | None
    _alone: dict[Shape, Counter[int]] = field(default_factory=dict, repr=False)

    def broken(self, text: str, separator: str = SEPARATORS[0]) -> str:
        """`text` with `separator` inside every spelling of a marker; text without one comes back as it is."""
        if self.spelled is None:
            return text
        for _ in range(_ROUNDS):  # what is left of a broken spelling may spell another one
            text, found = self.spelled.subn(lambda match: _split(match[0], separator), text)
            if not found:
                break
        return text

    def broken_by_token(self, text: str, separator: str) -> str:
        """As `broken`, and also where only the tokenizer sees a marker. What has one character stays."""
        text = self.broken(text, separator)
        if not getattr(self.tokenizer, "is_fast", False):  # a slow tokenizer does not tell where a token stood
            return text
        for _ in range(_ROUNDS):
            found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            spans = [
                span
                for token, span in zip(found["input_ids"], found["offset_mapping"], strict=True)
                if token in self.ids
            ]
            if not spans:
                break
            for start, end in sorted(set(spans), reverse=True):
                text = text[:start] + _split(text[start:end], separator) + text[end:]
        return text

    def counted(self, ids: Iterable[int]) -> Counter[int]:
        """How often each marker stands in some token ids."""
        return Counter(token for token in ids if token in self.ids)

    def alone(self, turns: Chat) -> Counter[int]:
        """How often the template itself puts each marker into a chat of this shape."""
        shape = tuple((turn["role"], not turn["content"].strip()) for turn in turns)
        if shape not in self._alone:
            empty = [{"role": role, "content": "" if silent else _WORD} for role, silent in shape]
            self._alone[shape] = self.counted(_encode(self.tokenizer, _rendered(self.tokenizer, empty)))
        return self._alone[shape]

    def refusal(self, found: Counter[int], expected: Counter[int], texts: Sequence[str]) -> ForgedRolesError:
        """The error that names the token and the text that gives it."""
        wrong = [token for token in (*found, *expected) if found[token] != expected[token]]
        name = self.ids[wrong[0]] if wrong else "?"
        culprit = next(
            (text for text in texts if self.counted(_encode(self.tokenizer, self.broken(text)))), " ".join(texts)
        )
        excerpt = " ".join(culprit.split())
        excerpt = f"{excerpt[:60]}..." if len(excerpt) > 60 else excerpt
        return ForgedRolesError(
            f"text that this model reads as its own token {name!r}, and that cannot be broken up: {excerpt!r}; "
            "change the text, or take a model with another tokenizer"
        )


@lru_cache(maxsize=8)
def markers(tokenizer: Any) -> Markers:
    """What of this tokenizer's vocabulary has power, worked out once."""
    template = _alone_text(tokenizer)
    special = set(tokenizer.all_special_tokens)
    if not hasattr(tokenizer, "get_added_vocab"):  # no tokenizer of transformers: it has spellings, and no ids to count
        return Markers(tokenizer, {}, _pattern({*special, *_MARKUP.findall(template)}))
    added: dict[str, int] = dict(tokenizer.get_added_vocab())
    declared = getattr(tokenizer, "added_tokens_decoder", {})
    special |= {str(token) for token in declared.values() if getattr(token, "special", False)}
    put = set(_encode(tokenizer, template))
    powerful = {
        token: number
        for token, number in added.items()
        if _has_text(token) and (token in special or number in put or not _is_ordinary(token))
    }
    ids = {number: token for token, number in powerful.items()}
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is not None and unknown in _encode(tokenizer, _UNHEARD_OF):
        ids.pop(unknown, None)
    spellings = {*powerful, *(token for token in special if _has_text(token)), *_MARKUP.findall(template)}
    return Markers(tokenizer, ids, _pattern(spellings))


def _has_text(token: str) -> bool:
    return bool(token.replace("\u2581", " ").strip())


def _is_ordinary(token: str) -> bool:
    return len(token) == 1 or bool(_WORDLIKE.fullmatch(token))


def _pattern(spellings: set[str]) -> re.Pattern[str] | None:
    """Finds what can be broken, the longest first."""
    wanted = sorted((token for token in spellings if len(token.strip()) > 1), key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, wanted))) if wanted else None


def _split(token: str, separator: str) -> str:
    """`token` with `separator` after its first character that is no space; a single character stays."""
    first = len(token) - len(token.lstrip()) + 1
    return token if first >= len(token.rstrip()) else token[:first] + separator + token[first:]


def _alone_text(tokenizer: Any) -> str:
    """What the template writes around words that mean nothing; empty where there is none."""
    for roles in _TRIED:
        try:
            return _rendered(tokenizer, [{"role": role, "content": _WORD} for role in roles]).replace(_WORD, " ")
        except (TemplateError, ValueError):
            continue
    return ""


def _rendered(tokenizer: Any, turns: Chat) -> str:
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def _encode(tokenizer: Any, text: str) -> Ids:
    return tuple(tokenizer([text], add_special_tokens=False)["input_ids"][0])
