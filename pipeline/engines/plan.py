"""The prefix-aware scoring plan: compute each shared block once, before its users arrive.

vLLM caches the keys and values of full blocks of a prompt, but requests that run at the same time do not share
blocks still being computed. The plan therefore sorts the prompts of a batch along their trie, lets the first prompt
of each block own it, and puts a prompt one wave after the last owner that it leans on. The number of waves is the
depth of ownership (about the number of players plus one for a trajectory's coalitions), not the number of prompts.

Reading log-probabilities costs a projection onto the vocabulary for every computed token, which only the target needs:
so the heads of the prompts (their full blocks) are computed first, without, and then every prompt reads its own tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

Ids = tuple[int, ...]


def distinct_tokens(prompts: Sequence[Ids]) -> int:
    """Nodes of the prompts' trie: the tokens that must be computed when every shared prefix is computed once."""
    total = 0
    last: Ids = ()
    for prompt in sorted(set(prompts)):
        total += len(prompt) - common_prefix(last, prompt)
        last = prompt
    return total


def common_prefix(left: Ids, right: Ids) -> int:
    """Number of leading tokens that both have."""
    short = min(len(left), len(right))
    if left[:short] == right[:short]:
        return short
    low, high = 0, short
    while low < high:
        middle = (low + high + 1) // 2
        if left[:middle] == right[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def waves(prompts: Sequence[Ids], block: int) -> list[list[int]]:
    """Indices of `prompts` (all distinct), wave by wave: whoever computes a block comes before its users.

    `block`: tokens in a cache block. Two prompts with no full block in common land in the same wave.
    """
    owners: dict[int, int] = {}
    wave_of: list[int] = [0] * len(prompts)
    for index in sorted(range(len(prompts)), key=lambda i: prompts[i]):
        chain, wave = 0, 0
        for start in range(0, len(prompts[index]) - block + 1, block):
            chain = hash((chain, prompts[index][start : start + block]))
            owner = owners.setdefault(chain, index)
            if owner != index:
                wave = max(wave, wave_of[owner] + 1)
        wave_of[index] = wave
    result: list[list[int]] = [[] for _ in range(max(wave_of, default=-1) + 1)]
    for index, wave in enumerate(wave_of):
        result[wave].append(index)
    return result


def heads(prompts: Sequence[Ids], block: int) -> list[Ids]:
    """The prompts' full blocks, each head once, and none that begins another."""
    cut = sorted({prompt[: len(prompt) // block * block] for prompt in prompts})
    return [head for head, following in pairwise([*cut, ()]) if head and following[: len(head)] != head]


def batches(prompts: Sequence[Ids], budget: int) -> list[list[int]]:
    """Indices of `prompts` along their trie, cut into batches of at most `budget` distinct tokens each.

    What a batch computes must stay in the cache until its last wave has read it. A longer prompt is a batch of its own.
    """
    result: list[list[int]] = []
    filled = 0
    last: Ids = ()
    for index in sorted(range(len(prompts)), key=lambda i: prompts[i]):
        fresh = len(prompts[index]) - common_prefix(last, prompts[index])
        if not result or filled + fresh > budget:
            result.append([])
            filled, fresh = 0, len(prompts[index])
        result[-1].append(index)
        filled += fresh
        last = prompts[index]
    return result
