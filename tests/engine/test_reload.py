"""New weights in the running engine: right afterwards, proved to be right, and refused where they do not fit."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from roads import small_config

from pipeline.config import Config
from pipeline.engines.base import SampleRequest, ScoreRequest
from pipeline.engines.sync import Probe, check, probe, trainer_logps
from pipeline.engines.vllm import VllmEngine
from pipeline.errors import UserError, WorkError
from pipeline.stages.common import engine_for

pytestmark = pytest.mark.engine


@dataclass(frozen=True)
class Checkpoints:
    """`new`: a few tensors of `base` disturbed; `next`: one more tensor of `new`, a little. Both in float32."""

    base: Path
    new: Path
    next: Path


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The model settings of the session's road, and so its engine."""
    return small_config(tmp_path_factory.mktemp("reload"), "reload")


@pytest.fixture(scope="module")
def checkpoints(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkpoints]:
    import torch
    from transformers import AutoModelForCausalLM

    base = Path(config.model.path)
    folder = tmp_path_factory.mktemp("policies")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)

    def disturb(parts: tuple[str, ...], share: float) -> None:
        for name, tensor in model.named_parameters():
            if any(part in name for part in parts):
                tensor.data += share * tensor.std() * torch.randn(tensor.shape, generator=generator)

    disturb(("embed_tokens", "layers.3.", "layers.20.self_attn.q_proj"), 0.05)
    model.save_pretrained(folder / "new")
    disturb(("layers.11.mlp.up_proj",), 0.02)
    model.save_pretrained(folder / "next")
    yield Checkpoints(base, folder / "new", folder / "next")
    shutil.rmtree(folder)


@pytest.fixture
def engine(config: Config, checkpoints: Checkpoints) -> Iterator[VllmEngine]:
    """The session's engine, which gets its own weights back."""
    shared = engine_for(config.model, config.data_root)
    assert isinstance(shared, VllmEngine)
    yield shared
    shared.load_weights(checkpoints.base)


def logps(engine: VllmEngine, fixed: Probe) -> list[tuple[float, ...]]:
    return [score.logprobs for score in engine.score(fixed.requests)]


def test_new_weights_are_the_checkpoints_and_the_old_ones_come_back(engine: VllmEngine, checkpoints: Checkpoints):
    fixed = probe(engine.tokenizer)
    name, before = engine.fingerprint, logps(engine, fixed)
    engine.load_weights(checkpoints.new)
    assert engine.fingerprint != name
    assert check(engine, checkpoints.new, fixed, 1e-3, before=checkpoints.base) <= 1e-3
    moved = zip(itertools.chain(*before), itertools.chain(*logps(engine, fixed)), strict=True)
    assert max(abs(a - b) for a, b in moved) >= 0.1
    engine.load_weights(checkpoints.base)
    assert engine.fingerprint == name
    assert logps(engine, fixed) == [pytest.approx(one, abs=1e-4) for one in before]


def test_samples_come_from_the_new_weights(engine: VllmEngine, checkpoints: Checkpoints):
    """The prompt is in the cache of the old weights when the new ones arrive; nothing of it may be used."""
    prompt = probe(engine.tokenizer).ids[1]
    request = SampleRequest(prompt, max_tokens=16, seed=5)
    engine.sample([request])
    engine.load_weights(checkpoints.new)
    sample = engine.sample([request])[0]
    assert sample.cached_tokens == 0
    read = Probe((prompt + sample.token_ids,))
    expected = trainer_logps(checkpoints.new, read)[0][-len(sample.token_ids) :]
    assert list(sample.logprobs) == pytest.approx(expected, abs=1e-3)
    assert engine.score([ScoreRequest(prompt, sample.token_ids)])[0].logprobs == pytest.approx(expected, abs=1e-3)


def test_a_corrupted_sync_is_caught(engine: VllmEngine, checkpoints: Checkpoints):
    """One tensor differs between what was loaded and what should have been."""
    fixed = probe(engine.tokenizer)
    engine.load_weights(checkpoints.new)
    with pytest.raises(WorkError, match="log-probabilities differ by"):
        check(engine, checkpoints.next, fixed, 1e-3)
    with pytest.raises(WorkError, match="nearer to those of .*/new"):
        check(engine, checkpoints.next, fixed, 10, before=checkpoints.new)


def test_vllms_own_reload_would_be_caught(engine: VllmEngine, checkpoints: Checkpoints):
    """Without our packing of the output layer; once this fails, vLLM does it itself and ours can go."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        pytest.skip("weights are packed on a CPU only")
    engine._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(checkpoints.new)})
    engine.reset_prefix_cache()
    with pytest.raises(WorkError, match="not those of"):
        check(engine, checkpoints.new, probe(engine.tokenizer), 0.1)


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
