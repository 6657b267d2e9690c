"""Policies: what speaks, its id and what is recorded of it."""

from __future__ import annotations

from typing import Any

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.ids import digest
from apportion.pipeline.engines.checkpoints import check_window, fingerprint, provenance, resolve_dtype, resolve_model


def policy_of(config: Config) -> tuple[str, dict[str, Any]]:
    """Id and row of the policy that the configuration names; a trained checkpoint tells what it came from."""
    path = resolve_model(config.model.path, data_root=config.data_root, hub=config.model.hub)
    check_window(path, config.model.max_model_len)
    weights, tokenizer = fingerprint(path)
    row = {
        "base": config.as_written(config.model.path),
        "weights_digest": weights,
        "tokenizer_digest": tokenizer,
        "version": 0,
    }
    return "p" + digest([weights, tokenizer]), {**row, **provenance(path)}


def scorer_of(config: Config) -> str:
    """Digest of what values coalitions: the configured weights, tokenizer and arithmetic."""
    path = resolve_model(config.model.path, data_root=config.data_root, hub=config.model.hub)
    check_window(path, config.model.max_model_len)
    return digest([*fingerprint(path), resolve_dtype(config.model.dtype)])
