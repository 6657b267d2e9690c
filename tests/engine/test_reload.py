"""New weights in the running engine: right afterwards, proved to be right, and refused where they do not fit.

In float32 and in bfloat16, which a processor without it emulates: the comparison is exact in both.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from roads import small_config

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.engines.base import SampleRequest, ScoreRequest
from apportion.pipeline.engines.running import engine_for
from apportion.pipeline.engines.sync import Probe, probe, prove_weights, reference_logps, replace_weights, rounding_of
from apportion.pipeline.engines.vllm import VllmEngine

pytestmark = pytest.mark.engine

RELOADS = 10


@dataclass(frozen=True)
class Checkpoints:
    """`new`: every tensor of `base` disturbed, by less than bfloat16 rounds an output; `next`: one tensor of `new`."""

    base: Path
    new: Path
    next: Path


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The model settings of the session's road, and so its engine; and another in bfloat16."""
    return small_config(tmp_path_factory.mktemp("reload"), "reload", model__dtype=request.param)


@pytest.fixture(scope="module")
def checkpoints(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkpoints]:
    import torch
    from transformers import AutoModelForCausalLM

    base = Path(config.model.path)
    folder = tmp_path_factory.mktemp("policies")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    for tensor in model.parameters():
        tensor.data += 0.01 * tensor.std() * torch.randn(tensor.shape, generator=generator)
    model.save_pretrained(folder / "new")
    tensor = model.model.layers[11].mlp.up_proj.weight
    tensor.data[7, 5] += 0.01
    model.save_pretrained(folder / "next")
    yield Checkpoints(base, folder / "new", folder / "next")
    shutil.rmtree(folder)


@pytest.fixture
def engine(config: Config, checkpoints: Checkpoints) -> Iterator[VllmEngine]:
    """The engine of one dtype, which gets its own weights back."""
    shared = engine_for(config.model, config.data_root)
    assert isinstance(shared, VllmEngine)
    assert shared.dtype == config.model.dtype
    yield shared
    shared.load_weights(checkpoints.base)


def logps(engine: VllmEngine, fixed: Probe) -> list[tuple[float, ...]]:
    return [score.logprobs for score in engine.score(fixed.requests)]


def worker(engine: VllmEngine, work: Callable[[Any], None]) -> None:
    """Do something to the model inside vLLM's worker."""
    engine._llm.apply_model(work)


def test_right_weights_are_never_doubted(engine: VllmEngine, checkpoints: Checkpoints):
    """Back and forth between two checkpoints: exact each time, and no output beyond the engine's own rounding."""
    prove_weights(engine, checkpoints.base)
    rounding = rounding_of(engine, checkpoints.base)
    for number in range(RELOADS):
        replace_weights(engine, (checkpoints.new, checkpoints.base)[number % 2], rounding)


def test_new_weights_are_the_checkpoints_and_the_old_ones_come_back(engine: VllmEngine, checkpoints: Checkpoints):
    fixed = probe(engine.tokenizer)
    name, before = engine.fingerprint, logps(engine, fixed)
    engine.load_weights(checkpoints.new)
    assert engine.fingerprint != name
    assert engine.unequal_weights(checkpoints.new) == []
    moved = zip(itertools.chain(*before), itertools.chain(*logps(engine, fixed)), strict=True)
    assert max(abs(a - b) for a, b in moved) >= 0.05
    engine.load_weights(checkpoints.base)
    assert engine.fingerprint == name
    assert logps(engine, fixed) == [pytest.approx(values, abs=1e-4) for values in before]


def test_samples_come_from_the_new_weights(engine: VllmEngine, checkpoints: Checkpoints):
    """The prompt is in the cache of the old weights when the new ones arrive; nothing of it may be used."""
    prompt = probe(engine.tokenizer).ids[1]
    request = SampleRequest(prompt, max_tokens=16, seed=5)
    engine.sample([request])
    engine.load_weights(checkpoints.new)
    sample = engine.sample([request])[0]
    assert sample.cached_tokens == 0
    read = Probe((prompt + sample.token_ids,))
    expected = reference_logps(checkpoints.new, read, engine.dtype)[0][-len(sample.token_ids) :]
    error = 1e-3 if engine.dtype == "float32" else 0.5
    assert list(sample.logprobs) == pytest.approx(expected, abs=error)
    assert engine.score([ScoreRequest(prompt, sample.token_ids)])[0].logprobs == pytest.approx(expected, abs=error)


def test_another_checkpoint_is_caught_by_a_single_number(engine: VllmEngine, checkpoints: Checkpoints):
    engine.load_weights(checkpoints.new)
    with pytest.raises(WorkError, match=r"not those of .*/next: model\.layers\.11\.mlp\.gate_up_proj\.weight"):
        prove_weights(engine, checkpoints.next)
    with pytest.raises(WorkError, match=r"not those of .* and \d+ more"):
        prove_weights(engine, checkpoints.base)


def test_a_stale_output_head_is_caught(engine: VllmEngine, checkpoints: Checkpoints):
    """vLLM's own reload, without our packing; once this fails, vLLM does it itself and ours can go."""
    only_on_a_cpu()
    engine._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(checkpoints.new)})
    engine.reset_prefix_cache()
    assert engine.unequal_weights(checkpoints.new) == ["lm_head.weight (packed)"]


def test_half_a_reload_is_caught(engine: VllmEngine, checkpoints: Checkpoints, tmp_path: Path):
    """A checkpoint whose second half of the layers is the old one: what a reload broken off leaves behind."""
    from safetensors.torch import load_file, save_file

    new, base = (load_file(folder / "model.safetensors") for folder in (checkpoints.new, checkpoints.base))
    late = [name for name in new if ".layers." in name and int(name.split(".")[2]) >= 15]
    shutil.copy(checkpoints.new / "config.json", tmp_path)
    save_file({**new, **{name: base[name].float() for name in late}}, tmp_path / "model.safetensors", {"format": "pt"})
    engine.load_weights(tmp_path)
    unequal = engine.unequal_weights(checkpoints.new)
    assert {name.split(".")[2] for name in unequal} == {str(layer) for layer in range(15, 30)}


def test_a_wrongly_packed_copy_is_caught_where_the_weight_itself_is_gone(engine: VllmEngine, checkpoints: Checkpoints):
    """Two rows of one layer's packed weight change places: nothing but a product shows it."""
    only_on_a_cpu()

    def swap(model: Any) -> None:
        layer = model.get_submodule("model.layers.4.mlp.down_proj")
        right = layer.cpu_linear
        swapped = [1, 0, *range(2, 576)]
        layer.cpu_linear = lambda x, weight, bias: right(x, weight, bias)[..., swapped]

    worker(engine, swap)
    assert engine.unequal_weights(checkpoints.base) == ["model.layers.4.mlp.down_proj.weight (packed)"]


def test_a_checkpoint_that_is_not_whole_or_not_finite_is_told_apart(
    engine: VllmEngine, checkpoints: Checkpoints, tmp_path: Path
):
    from safetensors.torch import load_file, save_file

    tensors = load_file(checkpoints.base / "model.safetensors")
    tensors["model.layers.2.input_layernorm.weight"][3] = float("nan")
    del tensors["model.norm.weight"]
    shutil.copy(checkpoints.base / "config.json", tmp_path)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    assert engine.unequal_weights(tmp_path) == [
        "model.layers.2.input_layernorm.weight (not finite, or not there, in the checkpoint)",
        "model.norm.weight (not finite, or not there, in the checkpoint)",
    ]


def test_the_engine_of_the_process_proves_what_it_loads(
    config: Config, engine: VllmEngine, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
):
    """A reload that forgets the output head stops the work, and the next one starts from scratch."""
    only_on_a_cpu()
    changed = config.model.model_copy(update={"path": str(with_tokenizer(checkpoints))})
    rpc = engine._llm.collective_rpc

    def forgets(method: str, *arguments: Any, **named: Any) -> Any:
        return [] if method == "repack_output_layer" else rpc(method, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(engine._llm, "collective_rpc", forgets)
        with pytest.raises(WorkError, match=r"not those of .*/new: lm_head\.weight \(packed\); nothing was sampled"):
            engine_for(changed, config.data_root)
    assert engine_for(changed, config.data_root) is engine
    assert engine_for(config.model, config.data_root) is engine


def with_tokenizer(checkpoints: Checkpoints) -> Path:
    for file in checkpoints.base.glob("*token*"):
        shutil.copy(file, checkpoints.new)
    for file in checkpoints.base.glob("chat_template*"):
        shutil.copy(file, checkpoints.new)
    return checkpoints.new


def only_on_a_cpu() -> None:
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        pytest.skip("weights are packed on a CPU only")


def no_folder(folder: Path, base: Path) -> None:
    """Nothing is there."""


def no_weights(folder: Path, base: Path) -> None:
    folder.mkdir()
    shutil.copy(base / "config.json", folder)


def other_architecture(folder: Path, base: Path) -> None:
    shutil.copytree(base, folder)
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**told, "num_hidden_layers": 29}))


def other_shape(folder: Path, base: Path) -> None:
    import torch
    from safetensors.torch import save_file

    no_weights(folder, base)
    save_file({"model.norm.weight": torch.zeros(10)}, folder / "model.safetensors")


def cut_short(folder: Path, base: Path) -> None:
    no_weights(folder, base)
    with (base / "model.safetensors").open("rb") as whole:
        (folder / "model.safetensors").write_bytes(whole.read(2_000_000))


REFUSED: dict[Callable[[Path, Path], None], str] = {
    no_folder: "no checkpoint",
    no_weights: "no weights",
    other_architecture: "num_hidden_layers 29 instead of 30",
    other_shape: r"model\.norm\.weight has shape \[10\] instead of \[576\]",
    cut_short: r"model\.safetensors is damaged",
}


def test_what_does_not_fit_is_refused_and_does_no_harm(engine: VllmEngine, checkpoints: Checkpoints, tmp_path: Path):
    fixed = probe(engine.tokenizer)
    name, before = engine.fingerprint, logps(engine, fixed)
    for make, told in REFUSED.items():
        folder = tmp_path / make.__name__
        make(folder, checkpoints.base)
        with pytest.raises(UserError, match=told) as caught:
            engine.load_weights(folder)
        assert "\n" not in str(caught.value)
        assert engine.fingerprint == name
        shutil.rmtree(folder, ignore_errors=True)
    engine.reset_prefix_cache()
    assert logps(engine, fixed) == [pytest.approx(one, abs=1e-4) for one in before]
