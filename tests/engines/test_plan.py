"""The scoring plan: nothing is counted twice, no block is needed before it is there, no batch overflows."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.pipeline.engines.plan import batches, common_prefix, distinct_tokens, heads, waves

Prompt = tuple[int, ...]
prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=14).map(tuple), max_size=24, unique=True)
quick = settings(max_examples=150, deadline=None)


def prefixes(prompt: Prompt) -> set[Prompt]:
    return {prompt[:end] for end in range(1, len(prompt) + 1)}


@quick
@given(prompts, st.randoms())
def test_distinct_tokens_are_the_nodes_of_the_trie(some: list[Prompt], random):
    doubled = some + some[:2]
    random.shuffle(doubled)
    assert distinct_tokens(doubled) == len(set().union(*map(prefixes, some)))


@quick
@given(st.lists(st.integers(0, 1), max_size=9).map(tuple), st.lists(st.integers(0, 1), max_size=9).map(tuple))
def test_common_prefix_is_the_longest_one(left: Prompt, right: Prompt):
    longest = max((n for n in range(min(len(left), len(right)) + 1) if left[:n] == right[:n]), default=0)
    assert common_prefix(left, right) == longest


@quick
@given(prompts, st.integers(1, 4))
def test_every_shared_block_is_computed_by_one_prompt_before_its_other_users(some: list[Prompt], block: int):
    planned = waves(some, block)
    assert sorted(index for wave in planned for index in wave) == list(range(len(some)))
    assert all(planned)
    users: dict[Prompt, list[int]] = defaultdict(list)
    for number, wave in enumerate(planned):
        for index in wave:
            for end in range(block, len(some[index]) + 1, block):
                users[some[index][:end]].append(number)
    for in_waves in users.values():
        assert in_waves.count(min(in_waves)) == 1


@quick
@given(prompts, st.integers(1, 4))
def test_heads_hold_every_full_block_and_none_of_them_begins_another(some: list[Prompt], block: int):
    found = heads(some, block)
    blocks = {prompt[:end] for prompt in some for end in range(block, len(prompt) + 1, block)}
    assert {head[:end] for head in found for end in range(block, len(head) + 1, block)} == blocks
    assert not any(left != right and right[: len(left)] == left for left in found for right in found)
    assert len(found) == len(set(found))


def test_prompts_without_a_common_block_run_at_once():
    assert waves([(1, 2, 3), (2, 2, 3), (1, 3, 3)], block=2) == [[0, 1, 2]]
    assert waves([], block=16) == []


def test_waves_are_as_many_as_the_players_need_and_not_as_many_as_prompts():
    head, said, masked = [9] * 4, [[i] * 4 for i in range(5)], [7] * 4
    coalitions = [
        tuple(head + [token for i in range(5) for token in (said[i] if mask >> i & 1 else masked)])
        for mask in range(32)
    ]
    assert len(waves(coalitions, block=4)) <= 6


@quick
@given(prompts, st.integers(1, 40))
def test_every_prompt_is_in_one_batch_within_the_budget(some: list[Prompt], budget: int):
    cut = batches(some, budget)
    assert sorted(index for batch in cut for index in batch) == list(range(len(some)))
    for batch in cut:
        assert len(batch) == 1 or distinct_tokens([some[index] for index in batch]) <= budget


@quick
@given(prompts.filter(bool))
def test_what_fits_the_budget_is_one_batch(some: list[Prompt]):
    assert len(batches(some, distinct_tokens(some))) == 1
