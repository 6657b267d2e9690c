"""Messages to chat turns: the one rule by which prompts are built when sampling and when re-scoring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.teams.markers import SEPARATORS, Markers, markers
from pipeline.teams.markers import Chat as Chat

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
    has no power. `prompt_ids` also proves it.
    """
    return _written(tokenizer, [harmless(tokenizer, turn["content"]) for turn in turns], turns)


def prompt_ids(tokenizer: Any, chats: Sequence[Chat], cue: str = "") -> list[tuple[int, ...]]:
    """Token ids of chats as the template writes them, each with `cue` after it.

    Each holds the added tokens that the template alone puts, and no other. Raises ForgedRolesError for the first chat
    that cannot be made so.
    """
    known = markers(tokenizer)
    texts = [prompt_text(tokenizer, turns) + known.broken(cue) for turns in chats]
    found = encode(tokenizer, texts)
    if not known.ids:
        return found
    return [_proven(known, turns, cue, ids) for turns, ids in zip(chats, found, strict=True)]


def text_ids(tokenizer: Any, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of texts without a template: none of them is an added token. Raises ForgedRolesError as `prompt_ids`.

    An unknown word may still become the unknown token.
    """
    known = markers(tokenizer)
    found = encode(tokenizer, [known.broken(text) for text in texts])
    return [_plain(known, text, ids) for text, ids in zip(texts, found, strict=True)] if known.ids else found


def harmless(tokenizer: Any, text: str) -> str:
    """`text` with a zero-width space inside every token of the added vocabulary that it spells out."""
    return markers(tokenizer).broken(text)


def encode(tokenizer: Any, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of templated texts, in one call; the template has already put every special token."""
    if not texts:
        return []
    return [tuple(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


def _written(tokenizer: Any, contents: Sequence[str], turns: Chat) -> str:
    plain = [{"role": turn["role"], "content": text} for turn, text in zip(turns, contents, strict=True)]
    return str(tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True))


def _proven(known: Markers, turns: Chat, cue: str, ids: tuple[int, ...]) -> tuple[int, ...]:
    """`ids` where they hold the template's own markers alone, else those of the same chat broken up more thoroughly."""
    expected = known.alone(turns)
    found = known.counted(ids)
    if found == expected:
        return ids
    said = [turn["content"] for turn in turns]
    for separator in SEPARATORS:
        broken = [known.broken_by_token(text, separator) for text in said]
        last = known.broken_by_token(cue, separator)
        for edge in ("", separator):  # a token may be spelled by a text together with what stands beside it
            contents = [f"{edge}{text}{edge}" if text.strip() else text for text in broken]
            text = _written(known.tokenizer, contents, turns) + (f"{edge}{last}" if last else "")
            tried = encode(known.tokenizer, [text])[0]
            if known.counted(tried) == expected:
                return tried
    raise known.refusal(found, expected, [*said, cue])


def _plain(known: Markers, text: str, ids: tuple[int, ...]) -> tuple[int, ...]:
    found = known.counted(ids)
    if not found:
        return ids
    for separator in SEPARATORS:
        tried = encode(known.tokenizer, [known.broken_by_token(text, separator)])[0]
        if not known.counted(tried):
            return tried
    raise known.refusal(found, Counter(), [text])
