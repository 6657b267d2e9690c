"""Trained weights in the dtype of the checkpoint that they came from, without losing what was learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from apportion.pipeline.core.ids import digest

MASTER = "float32"
"""Folder inside a checkpoint of lower precision that keeps the weights as trained: training goes on from them."""


def stochastically_rounded(values: Tensor, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """`values` (float32, any shape) in `dtype`, each rounded to one of its two neighbours, by chance.

    The chance is such that the expectation is the value itself (Gupta et al., 1502.02551); a value that `dtype` holds
    exactly stays. Rounding to the nearest would undo a small update: weights that were bfloat16 before stand in the
    middle of their rounding interval, and after DPO with a learning rate of 1e-5, whose steps are a tenth of such an
    interval, 97 % of the changed weights fell back to where they had been.
    """
    nearest = values.to(dtype)
    error = values - nearest.float()
    other = torch.nextafter(nearest, torch.full_like(nearest, torch.inf).copysign(error.to(dtype)))
    step = (other.float() - nearest.float()).abs()
    chance = torch.where(error == 0, 0.0, error.abs() / step)
    drawn = torch.rand(values.shape, generator=generator)
    return torch.where(drawn < chance, other, nearest)


def dtype_of(model: Path) -> torch.dtype:
    """The floating-point type in which a checkpoint folder says that it keeps its weights."""
    told = json.loads((model / "config.json").read_text(encoding="utf-8"))
    name = str(told.get("dtype") or told.get("torch_dtype") or "float32").removeprefix("torch.")
    dtype = getattr(torch, name, None)
    return dtype if isinstance(dtype, torch.dtype) and dtype.is_floating_point else torch.float32


def save(net: Any, folder: Path, dtype: torch.dtype, seed: str) -> None:
    """Write `net` (float32) to `folder` in `dtype`; below float32 rounded stochastically, with a float32 copy inside.

    `seed` and the tensor's name draw the rounding, so that the same training writes the same files. The network in
    memory is left in `dtype`.
    """
    if dtype.itemsize >= torch.float32.itemsize:
        net.save_pretrained(folder)
        return
    net.save_pretrained(folder / MASTER)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            generator = torch.Generator().manual_seed(int(digest([seed, name], 15), 16))
            parameter.data = stochastically_rounded(parameter.data.float().cpu(), dtype, generator)
    net.to(dtype).save_pretrained(folder)


def to_train_from(model: Path) -> Path:
    """Where training starts: the float32 copy inside a checkpoint that has one."""
    return model / MASTER if (model / MASTER / "config.json").is_file() else model
