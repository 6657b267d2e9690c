"""Inside vLLM's worker: the weights that it computes with, compared with those of a checkpoint, number by number."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

IDENTITY_ROWS = 256
"""Unit vectors multiplied at once by a packed weight: its numbers in blocks that stay small."""


def unequal_weights(model: nn.Module, vllm_config: Any, folder: Path) -> list[str]:
    """Tensors of `model`, the worker's own, that are not those of the checkpoint in `folder`, each in a few words.

    The checkpoint is read into a second, unprocessed model by vLLM's own loaders, in the worker's dtype and with its
    part of every sharded tensor; so the comparison is exact in any dtype. On a CPU a linear layer multiplies by a
    packed copy whose numbers cannot be read: multiplied by unit vectors it gives them away, exactly, since every
    product but one is zero. Layers of other kinds (quantized, experts) are processed like the worker's and compared
    in that form.

    Cost: the checkpoint once more in host memory while this runs, its reading, and on a CPU about one forward pass
    over as many tokens as the model is wide.
    """
    theirs = dict(read_model(vllm_config, folder).named_modules())
    return [
        f"{name}.{told}" if name else told
        for name, held in model.named_modules()
        for told in _unequal(held, theirs[name])
    ]


def read_model(vllm_config: Any, folder: Path) -> nn.Module:
    """The checkpoint as vLLM lays it out, in host memory, before any packing; NaN where the checkpoint has nothing."""
    from vllm.model_executor.model_loader import get_model_loader
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.utils.torch_utils import set_default_torch_dtype

    settings = copy.copy(vllm_config)
    settings.compilation_config = copy.copy(settings.compilation_config)
    settings.compilation_config.static_forward_context = {}  # layers register by name, and the worker's have theirs
    settings.model_config = copy.copy(settings.model_config)
    settings.model_config.model = str(folder)
    with set_default_torch_dtype(settings.model_config.dtype), torch.device("cpu"), torch.no_grad():
        model = initialize_model(settings)
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.fill_(torch.nan)
        loader: Any = get_model_loader(settings.load_config)
        model.load_weights(loader.get_all_weights(settings.model_config, model))
    return model


def _unequal(held: nn.Module, expected: nn.Module) -> Iterator[str]:
    """What of one layer is not the checkpoint's, packed copies included."""
    packed = getattr(held, "cpu_linear", None)
    if packed is None and not _plain(held):
        expected.quant_method.process_weights_after_loading(expected)
    mine = dict(held.named_parameters(recurse=False))
    for name, right in expected.named_parameters(recurse=False):
        if not right.isfinite().all():
            yield f"{name} (not finite, or not there, in the checkpoint)"
            continue
        # A packed layer may keep no other copy of its weight.
        only_packed = packed and name == "weight" and mine[name].numel() == 0
        if not only_packed and not _same(mine[name], right):
            yield name
        if packed and name == "weight" and not all(_same(ours, theirs) for ours, theirs in _columns(held, right)):
            yield f"{name} (packed)"


def _plain(layer: nn.Module) -> bool:
    """Whether the layer keeps its weights as the checkpoint has them."""
    from vllm.model_executor.layers.linear import UnquantizedLinearMethod
    from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod

    method = getattr(layer, "quant_method", None)
    return not isinstance(method, QuantizeMethodBase) or isinstance(
        method, UnquantizedLinearMethod | UnquantizedEmbeddingMethod
    )


def _columns(layer: Any, weight: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of columns of a packed (N, K) weight, as multiplication shows them and as `weight` has them."""
    width = weight.shape[1]
    for start in range(0, width, IDENTITY_ROWS):
        rows = min(IDENTITY_ROWS, width - start)
        units = torch.zeros(rows, width, dtype=weight.dtype)
        units[torch.arange(rows), start + torch.arange(rows)] = 1
        yield layer.cpu_linear(units, layer.weight, None), weight[:, start : start + rows].T


def _same(held: Tensor, expected: Tensor) -> bool:
    """Equal in shape and in every number."""
    if held.shape != expected.shape:
        return False
    wide = torch.promote_types(held.dtype, expected.dtype)
    return bool(torch.equal(held.cpu().to(wide), expected.to(wide)))
