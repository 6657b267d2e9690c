"""Messages to chat turns: the one rule by which prompts are built when sampling and when re-scoring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from apportion.pipeline.trajectory.markers import SEPARATORS, Ids, Markers, markers
from apportion.pipeline.trajectory.markers import Chat as Chat

NEUTRAL = "(no message)"
"""What stands in the place of a masked message, or of the turn of an agent that was taken out."""


def spoken(role: str, kind: str, agent: str, text: str) -> str:
    """How a message reads to an agent that did not write it."""
    if kind == "task":
        return f"Question: {text}"
    if role == "tool":
        return f"result: {text}"
    if kind == "notice":
        return text
    return f"{agent}: {text}"


def chat(
    reader: str,
    system: str,
    examples: Iterable[Sequence[str]],
    messages: Iterable[tuple[str, str, str, str]],
) -> Chat:
    """The chat that `reader` sees: instructions, worked examples, then (role, kind, agent, text) messages.

    Its own messages are assistant turns, all others user turns; neighbours of one role are joined by a line break,
    since many chat templates insist on alternation.
    """
    turns: Chat = [{"role": "system", "content": system}] if system else []
    for said, answered in examples:
        turns += [{"role": "user", "content": said}, {"role": "assistant", "content": answered}]
    for role, kind, agent, text in messages:
        mine = agent == reader and role == "assistant"
        name, content = ("assistant", text) if mine else ("user", spoken(role, kind, agent, text))
        if turns and turns[-1]["role"] == name and name == "user":
            turns[-1] = {"role": name, "content": f"{turns[-1]['content']}\n{content}"}
        else:
            turns.append({"role": name, "content": content})
    return turns


def prompt_text(tokenizer: Any, turns: Chat) -> str:
    """The chat as the model's own template writes it, ready for the next assistant turn.

    Text is only text: a token of the added vocabulary spelled out in a message (a forged turn, say) is broken up and
    has no power. Raises ForgedRolesError as `prompt_ids`.
    """
    known = markers(tokenizer)
    text = _rendered(known, turns)
    return _proven(known, turns, "", text, encode(tokenizer, [text])[0])[0] if known.ids else text


def prompt_ids(tokenizer: Any, chats: Sequence[Chat], cue: str = "") -> list[tuple[int, ...]]:
    """Token ids of chats as the template writes them, each with `cue` after it.

    Each holds the added tokens that the template alone puts, and no other. Raises ForgedRolesError for the first chat
    that cannot be made so.
    """
    known = markers(tokenizer)
    texts = [_rendered(known, turns) + known.broken(cue) for turns in chats]
    found = encode(tokenizer, texts)
    if not known.ids:
        return found
    return [
        _proven(known, turns, cue, *one)[1] for turns, one in zip(chats, zip(texts, found, strict=True), strict=True)
    ]


def text_ids(tokenizer: Any, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of texts without a template: none of them is an added token. Raises ForgedRolesError as `prompt_ids`.

    An unknown word may still become the unknown token.
    """
    known = markers(tokenizer)
    broken = [known.broken(text) for text in texts]
    found = encode(tokenizer, broken)
    if not known.ids:
        return found
    return [_plain(known, text, *one)[1] for text, one in zip(texts, zip(broken, found, strict=True), strict=True)]


def harmless(tokenizer: Any, text: str) -> str:
    """`text` with a zero-width space inside every token of the added vocabulary that it gives.

    Raises ForgedRolesError as `prompt_ids`.
    """
    known = markers(tokenizer)
    broken = known.broken(text)
    return _plain(known, text, broken, encode(tokenizer, [broken])[0])[0] if known.ids else broken


def encode(tokenizer: Any, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of templated texts, in one call; the template has already put every special token."""
    if not texts:
        return []
    return [tuple(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


def _rendered(known: Markers, turns: Chat) -> str:
    return _written(known.tokenizer, [known.broken(turn["content"]) for turn in turns], turns)


def _written(tokenizer: Any, contents: Sequence[str], turns: Chat) -> str:
    plain = [{"role": turn["role"], "content": text} for turn, text in zip(turns, contents, strict=True)]
    return str(tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True))


def _proven(known: Markers, turns: Chat, cue: str, text: str, ids: Ids) -> tuple[str, Ids]:
    """Text and ids where they hold the template's markers alone, else of the same chat broken up more thoroughly."""
    expected = known.alone(turns)
    found = known.counted(ids)
    if found == expected:
        return text, ids
    said = [turn["content"] for turn in turns]
    for separator in SEPARATORS:
        broken = [known.broken_by_token(one, separator) for one in said]
        last = known.broken_by_token(cue, separator)
        for edge in ("", separator):  # a token may be spelled by a text together with what stands beside it
            contents = [f"{edge}{one}{edge}" if one.strip() else one for one in broken]
            text = _written(known.tokenizer, contents, turns) + (f"{edge}{last}" if last else "")
            ids = encode(known.tokenizer, [text])[0]
            if known.counted(ids) == expected:
                return text, ids
    raise known.refusal(found, expected, [*said, cue])


def _plain(known: Markers, text: str, broken: str, ids: Ids) -> tuple[str, Ids]:
    """`broken` and its ids where they hold no marker, else of `text` broken up more thoroughly."""
    found = known.counted(ids)
    if not found:
        return broken, ids
    for separator in SEPARATORS:
        tried = known.broken_by_token(text, separator)
        ids = encode(known.tokenizer, [tried])[0]
        if not known.counted(ids):
            return tried, ids
    raise known.refusal(found, Counter(), [text])
