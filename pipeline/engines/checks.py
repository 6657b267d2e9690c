"""What a checkpoint would be refused for, found without loading it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.engines import running
from apportion.pipeline.engines.checkpoints import resolve_model


def to_speak(config: Config) -> Any:
    """The model's tokenizer; UserError where its folder holds no checkpoint that can be prompted as a chat."""
    to_load(config)
    return running.tokenizer_for(config.model, config.data_root)


def to_load(config: Config) -> None:
    """Raise UserError where a checkpoint's configuration or the heads of its weights cannot be read."""
    path = resolve_model(config.model.path, data_root=config.data_root, hub=config.model.hub)
    named = f"model.path = {config.model.path!r}"
    try:
        told = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{named}: config.json is not JSON ({error}); give a whole checkpoint") from error
    if not isinstance(told, dict) or not told.get("model_type"):
        raise UserError(f"{named}: config.json names no model_type; give a checkpoint folder of transformers")
    _weights(named, sorted(path.glob("*.safetensors")))


def _weights(named: str, files: Iterable[Path]) -> None:
    """Raise UserError where a file of weights is cut short or none at all. Reads its head alone."""
    from safetensors import SafetensorError, safe_open

    for file in files:
        try:
            with safe_open(str(file), framework="numpy") as opened:
                empty = not opened.keys()
        except (SafetensorError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{named}: {file.name} is damaged ({reason}); copy or download it again") from error
        if empty:
            raise UserError(f"{named}: {file.name} holds no weights; give a whole checkpoint")
