"""What stages share: the engine of this process, progress, and the shard that stands or is done again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import pyarrow as pa

from pipeline.config import ModelConfig
from pipeline.engines.base import Engine
from pipeline.models import resolve_model

ALGORITHM_VERSION = 1
"""Raise it when the same inputs would give other rows: shards of older versions are then done again."""


class Progress(Protocol):
    """Where a stage reports: `start` a named piece of `total` units, then `advance`."""

    def start(self, name: str, total: int) -> Callable[[int], None]:
        """Begin a piece of work; the result is called with the units just finished."""
        ...


class Silent:
    """Progress that nobody watches."""

    def start(self, name: str, total: int) -> Callable[[int], None]:
        """Ignore it."""
        return lambda units: None


_watcher: ContextVar[Progress] = ContextVar("watcher")


@contextmanager
def watched(by: Progress) -> Iterator[None]:
    """Stages inside the block report to `by`."""
    token = _watcher.set(by)
    try:
        yield
    finally:
        _watcher.reset(token)


def watcher() -> Progress:
    """Whoever watches this work."""
    return _watcher.get(Silent())


_engines: dict[str, Engine] = {}
_guard = Lock()


def engine_for(model: ModelConfig, data_root: Path) -> Engine:
    """The one engine of this process for `model`, started at its first use."""
    path = resolve_model(model.path, data_root=data_root, hub=model.hub)
    key = json.dumps([str(path.absolute()), model.dtype, model.max_model_len])
    with _guard:
        if key not in _engines:
            from pipeline.engines.vllm import VllmEngine

            _engines[key] = VllmEngine(
                path, dtype=model.dtype, max_model_len=model.max_model_len, kv_cache_gib=model.kv_cache_gib
            )
        return _engines[key]


def tokenizer_for(model: ModelConfig, data_root: Path) -> Any:
    """The model's tokenizer alone (for a dry run)."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(resolve_model(model.path, data_root=data_root, hub=model.hub))


def rows(data: pa.Table) -> list[dict[str, Any]]:
    """A table as a list of rows."""
    result: list[dict[str, Any]] = data.to_pylist()
    return result
