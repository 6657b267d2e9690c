"""The engines of this process: started at their first use, their weights replaced and proved."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from apportion.pipeline.core.config import ModelConfig
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest
from apportion.pipeline.engines.base import Engine
from apportion.pipeline.engines.checkpoints import fingerprint, resolve_model, shape_of, without_pattern


@dataclass
class _Running:
    """An engine of this process, what it was started for, and the weights that it holds now."""

    key: str
    engine: Engine
    path: Path
    holds: str | None
    """Digest of the weights; None after a load that failed."""
    rounding: float | None = None
    """Of the engine's arithmetic (nats per token, rms), measured on weights known to be right."""


_running: list[_Running] = []
_guard = Lock()


def engine_for(model: ModelConfig, data_root: Path, beside: Collection[Engine] = ()) -> Engine:
    """An engine of this process with the model's weights, started at its first use.

    Other weights of the same architecture and tokenizer are loaded into an engine at hand and proved to be there:
    WorkError where they are not. Another architecture, tokenizer or context window gets an engine of its own, and so
    do weights that are wanted `beside` those of other engines.
    """
    path = without_pattern(resolve_model(model.path, data_root=data_root, hub=model.hub).absolute())
    weights, tokenizer = fingerprint(path)
    key = digest([shape_of(path), tokenizer, model.dtype, model.max_model_len])
    with _guard:
        alike = [one for one in _running if one.key == key]
        free = [one for one in alike if not any(one.engine is other for other in beside)]
        running = next((one for one in alike if one.holds == weights), next(iter(free), None))
        if running is None:
            from apportion.pipeline.engines.vllm import VllmEngine

            engine = VllmEngine(
                path,
                dtype=model.dtype,
                max_model_len=model.max_model_len,
                kv_cache_gib=model.kv_cache_gib,
                gpu_memory=model.gpu_memory,
            )
            running = _Running(key, engine, path, weights)
            _running.append(running)
        elif running.holds != weights:
            _replace(running, path, weights, model.sync_tolerance)
        return running.engine


def _replace(running: _Running, path: Path, weights: str, tolerance: float | None) -> None:
    """Other weights for the engine, proved; its rounding is measured first, while it still holds its first ones."""
    from apportion.pipeline.engines.sync import prove_weights, replace_weights, rounding_of

    engine, held = running.engine, running.path
    if running.rounding is None and held.is_dir() and fingerprint(held)[0] == running.holds:
        prove_weights(engine, held)
        running.rounding = rounding_of(engine, held)
    running.holds = None
    replace_weights(engine, path, running.rounding, tolerance)
    running.path, running.holds = path, weights


def tokenizer_for(model: ModelConfig, data_root: Path) -> Any:
    """The model's tokenizer alone. UserError where it cannot be loaded, or writes no chats."""
    from transformers import AutoTokenizer

    path, named = resolve_model(model.path, data_root=data_root, hub=model.hub), f"model.path = {model.path!r}"
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # whatever a library makes of a folder that holds none
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{named}: its tokenizer cannot be loaded ({reason}); give a whole checkpoint") from error
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is code of its own
        missing = not getattr(tokenizer, "chat_template", None)
        reason = "has no chat template" if missing else f"has a chat template that fails ({error})"
        raise UserError(
            f"{named}: its tokenizer {reason}; give an instruction-tuned model, or put a chat_template.jinja into "
            "the folder"
        ) from error
    return tokenizer
