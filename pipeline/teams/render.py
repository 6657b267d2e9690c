"""Messages to chat turns: the one rule by which prompts are built when sampling and when re-scoring."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Chat = list[dict[str, str]]
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

    Text is only text: a special token spelled out in a message (a forged turn, say) is broken up and has no power.
    """
    plain = [{"role": turn["role"], "content": harmless(tokenizer, turn["content"])} for turn in turns]
    return str(tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True))


def harmless(tokenizer: Any, text: str) -> str:
    """`text` with a zero-width space inside every special token that it spells out."""
    for token in tokenizer.all_special_tokens:
        if token in text:
            text = text.replace(token, f"{token[0]}\u200b{token[1:]}")
    return text


def encode(tokenizer: Any, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of templated texts, in one call; the template has already put every special token."""
    if not texts:
        return []
    return [tuple(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
