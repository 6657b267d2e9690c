"""Small updates survive in a checkpoint of low precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from apportion.pipeline.training.rounding import MASTER, dtype_of, save, stochastically_rounded, to_train_from


def drawn(values: torch.Tensor, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> torch.Tensor:
    return stochastically_rounded(values, dtype, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_the_dtype_holds_stays_and_all_else_goes_to_a_neighbour(dtype: torch.dtype):
    values = torch.randn(2000, generator=torch.Generator().manual_seed(1))
    exact = values.to(dtype).float()
    assert torch.equal(drawn(exact, dtype).float(), exact)
    rounded = drawn(values, dtype).float()
    below = torch.nextafter(values.to(dtype), torch.tensor(-torch.inf, dtype=dtype)).float()
    above = torch.nextafter(values.to(dtype), torch.tensor(torch.inf, dtype=dtype)).float()
    assert ((rounded >= below) & (rounded <= above)).all()
    assert drawn(torch.tensor([0.0, -0.0, 1.0])).tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("start", [0.05, -0.05, 1.0, -1.0])
def test_the_mean_of_many_is_the_value_where_the_nearest_is_the_old_weight(start: float):
    """1.0 in bfloat16 has 1/128 above it and 1/256 below: an update by a tenth of that is lost to the nearest."""
    old = torch.tensor(start).bfloat16().float()
    for update in (2e-5, -2e-5):
        values = torch.full((200_000,), float(old) + update)
        assert (values.bfloat16().float() == old).all()
        mean_update = float((drawn(values).double() - old.double()).mean())
        step = float((torch.nextafter(old.bfloat16(), torch.tensor(torch.inf).bfloat16()).float() - old).abs())
        error = (2e-5 * step / 200_000) ** 0.5  # of a mean of draws that are 0 or one step
        assert mean_update == pytest.approx(update, abs=5 * error)


def test_a_checkpoint_keeps_its_dtype_its_update_and_what_training_goes_on_from(
    tiny: Callable[[], Any], tmp_path: Path
):
    start = tiny().to(torch.bfloat16)
    start.save_pretrained(tmp_path / "start")
    assert dtype_of(tmp_path / "start") == torch.bfloat16
    trained = tiny().to(torch.bfloat16).float()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += 1e-5
    for name in ("out", "again"):
        net = tiny()
        net.load_state_dict(trained.state_dict())
        save(net, tmp_path / name, dtype_of(tmp_path / "start"), "job")
    written = load_file(tmp_path / "out/model.safetensors")
    assert {tensor.dtype for tensor in written.values()} == {torch.bfloat16}
    assert dtype_of(tmp_path / "out") == torch.bfloat16
    again = load_file(tmp_path / "again/model.safetensors")
    assert all(tensor.equal(again[name]) for name, tensor in written.items())
    before = start.state_dict()
    moved = torch.cat([(tensor.float() - before[name].float()).flatten() for name, tensor in written.items()])
    assert float(moved.double().mean()) == pytest.approx(1e-5, rel=0.25)
    master = to_train_from(tmp_path / "out")
    assert master == tmp_path / "out" / MASTER
    kept = load_file(master / "model.safetensors")
    assert all(tensor.equal(trained.state_dict()[name]) for name, tensor in kept.items())
    assert to_train_from(tmp_path / "start") == tmp_path / "start"


def test_a_float32_checkpoint_is_written_as_it_is(tiny: Callable[[], Any], tmp_path: Path):
    net = tiny()
    save(net, tmp_path, torch.float32, "job")
    assert not (tmp_path / MASTER).exists()
    assert all(t.equal(net.state_dict()[name]) for name, t in load_file(tmp_path / "model.safetensors").items())
