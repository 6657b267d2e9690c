"""Log-probabilities of completions, with every distinct token of a batch computed once.

Prompts of one agent share its instructions and worked examples, and the two sides of a preference pair share
the whole prompt. Rows are laid out as a prefix tree: a token that several rows have in common, after the same
tokens, is one node. A tree is run as one sequence in which a token attends to its ancestors and stands at its
depth. The numbers, gradients included, are those of one row at a time, up to float rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Both of shape (B, T), float32, 0 where nothing was asked for; `entropies` (nat) has no gradient."""

    logps: Tensor
    entropies: Tensor


@dataclass(frozen=True)
class Pack:
    """Rows that are run as one tree.

    tokens, depths: one a node. paths: for each row of the pack, its nodes from the root to the last token.
    """

    tokens: list[int]
    depths: list[int]
    paths: dict[int, list[int]]


def pair_price(model: Any) -> int:
    """How many pairs of attention cost as much as one token through the weights; 0: the model has to be run plainly.

    A layer of width h has about 12 h² weights, so 24 h² operations a token, and 4 h a pair of query and key, at half
    the speed of a matrix product (measured on a CPU). A tree needs rotary positions and unrestricted attention in
    every layer, which transformers takes a mask for.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    plain = (
        kinds != {"full_attention"}
        or getattr(config, "sliding_window", None) is not None
        or getattr(config, "rope_parameters", None) is None
        or getattr(model, "_is_stateful", False)
        or config._attn_implementation != "sdpa"
    )
    return 0 if plain else 3 * int(config.hidden_size)


def completion_logps(
    model: Any,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    wanted: Sequence[Sequence[bool]],
    *,
    temperature: float = 1.0,
    price: int,
) -> Scores:
    """Log-probability of every wanted completion token given all tokens before it, at `temperature`.

    `prompts` are not empty where anything is wanted; `wanted` has one flag a completion token. T is the longest
    completion. `price` is `pair_price` of the unwrapped model. The model is called exactly once, also where
    nothing is wanted, so that processes which share a gradient stay in step.
    """
    inputs, targets = _needed(prompts, completions, wanted)
    ids_KN, batch, keep_W, place = _tree_batch(inputs, targets, price) if price else _plain_batch(inputs, targets)
    device = next(model.parameters()).device
    logits_KWV = model(
        input_ids=ids_KN.to(device),
        **{name: value.to(device) for name, value in batch.items()},
        logits_to_keep=keep_W.to(device),
        use_cache=False,
    ).logits.float()
    if temperature != 1.0:
        logits_KWV = logits_KWV / temperature
    shape = (len(prompts), max((len(completion) for completion in completions), default=0))
    return _scores(logits_KWV, place.to(device), shape)


def _needed(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], wanted: Sequence[Sequence[bool]]
) -> tuple[dict[int, list[int]], dict[int, list[tuple[int, int, int]]]]:
    """By row: the tokens to run, up to the one before the last wanted; and (place in them, t, token) of each target."""
    inputs: dict[int, list[int]] = {}
    targets: dict[int, list[tuple[int, int, int]]] = {}
    for row, (prompt, completion, flags) in enumerate(zip(prompts, completions, wanted, strict=True)):
        asked = [t for t, flag in enumerate(flags) if flag]
        if asked:
            inputs[row] = [*prompt, *completion[: asked[-1]]]
            targets[row] = [(len(prompt) + t - 1, t, completion[t]) for t in asked]
    return inputs, targets


def packs(inputs: dict[int, list[int]], price: int) -> list[Pack]:
    """Rows in lexicographic order, so that neighbours share most; a row joins the tree before it where that is cheaper.

    Joining saves the tokens in common and costs attention: a tree of n tokens computes n² pairs, masked or not.
    """
    result: list[Pack] = []
    before: list[int] = []
    for row in sorted(inputs, key=inputs.__getitem__):
        tokens = inputs[row]
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, tokens, strict=False)))
        last = result[-1] if result else None
        size = len(last.tokens) if last else 0
        grown = (size + len(tokens) - common) ** 2 - size**2 - len(tokens) ** 2
        if last is None or common * price <= grown:
            last, common, size, before = Pack([], [], {}), 0, 0, []
            result.append(last)
        shared = next(reversed(last.paths.values()))[:common] if common else []
        last.paths[row] = [*shared, *range(size, size + len(tokens) - common)]
        last.tokens.extend(tokens[common:])
        last.depths.extend(range(common, len(tokens)))
        before = tokens
    return result


def _tree_batch(
    inputs: dict[int, list[int]], targets: dict[int, list[tuple[int, int, int]]], price: int
) -> tuple[Tensor, dict[str, Tensor], Tensor, Tensor]:
    """Token ids (K, N), masks and positions, the places whose logits are kept, and where each target finds its own.

    The nodes whose logits are needed come first in every pack, so that the head computes nothing else.
    """
    trees = packs(inputs, price) or [Pack([0], [0], {})]
    n = max(len(tree.tokens) for tree in trees)
    ids = torch.zeros(len(trees), n, dtype=torch.long)
    positions = torch.zeros_like(ids)
    attends = torch.eye(n, dtype=torch.bool).repeat(len(trees), 1, 1)
    place: list[tuple[int, int, int, int, int]] = []
    kept = 1
    for k, tree in enumerate(trees):
        needed = sorted({path[at] for row, path in tree.paths.items() for at, _, _ in targets[row]})
        chosen = set(needed)
        order = torch.tensor([*needed, *(node for node in range(len(tree.tokens)) if node not in chosen)])
        new_place = torch.empty_like(order)
        new_place[order] = torch.arange(len(order))
        ids[k, : len(order)] = torch.tensor(tree.tokens)[order]
        positions[k, : len(order)] = torch.tensor(tree.depths)[order]
        for row, path in tree.paths.items():
            nodes = new_place[torch.tensor(path)]
            attends[k, nodes[:, None], nodes] = torch.ones(len(path), len(path), dtype=torch.bool).tril()
            place.extend((k, int(nodes[at]), row, t, token) for at, t, token in targets[row])
        kept = max(kept, len(needed))
    masks = {"attention_mask": attends[:, None], "position_ids": positions}
    return ids, masks, torch.arange(kept), torch.tensor(place, dtype=torch.long).reshape(-1, 5)


def _plain_batch(
    inputs: dict[int, list[int]], targets: dict[int, list[tuple[int, int, int]]]
) -> tuple[Tensor, dict[str, Tensor], Tensor, Tensor]:
    """As `_tree_batch`, but one row a sequence, padded on the right."""
    rows = list(inputs) or [-1]
    sequences = [inputs.get(row, [0]) for row in rows]
    n = max(len(sequence) for sequence in sequences)
    ids = torch.tensor([[*sequence, *[0] * (n - len(sequence))] for sequence in sequences])
    mask = torch.tensor([[1] * len(sequence) + [0] * (n - len(sequence)) for sequence in sequences])
    used = sorted({at for found in targets.values() for at, _, _ in found}) or [0]
    slot = {at: index for index, at in enumerate(used)}
    place = [(k, slot[at], row, t, token) for k, row in enumerate(rows) for at, t, token in targets.get(row, [])]
    return ids, {"attention_mask": mask}, torch.tensor(used), torch.tensor(place, dtype=torch.long).reshape(-1, 5)


def _scores(logits_KWV: Tensor, place: Tensor, shape: tuple[int, int]) -> Scores:
    """`place` (M, 5): pack, kept place, row, t and token of each target."""
    pack_M, kept_M, row_M, t_M, token_M = place.unbind(1)
    normalizer_KW = logits_KWV.logsumexp(-1)
    logps_M = logits_KWV[pack_M, kept_M, token_M] - normalizer_KW[pack_M, kept_M]
    empty = logps_M.new_zeros(shape)
    with torch.no_grad():
        weighted_KWV = (logits_KWV - normalizer_KW[..., None]).exp_().mul_(logits_KWV)
        entropy_KW = normalizer_KW - weighted_KWV.sum(-1)
        entropies = empty.index_put((row_M, t_M), entropy_KW[pack_M, kept_M])
    return Scores(empty.index_put((row_M, t_M), logps_M), entropies)
