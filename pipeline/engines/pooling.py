"""A token classifier in vLLM's pooling runner: what its layer of outputs says at every token of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.plan import Ids
from pipeline.engines.vllm import start

Floats = NDArray[np.float64]


class TokenClassifier:
    """One engine over a checkpoint of `...ForTokenClassification`. Not thread-safe, like `VllmEngine`, and beside it.

    A decoder is one for vLLM too: it loads LlamaForCausalLM and its like without the vocabulary's layer, and `score`,
    with its bias, in its place. Every prompt is computed whole, since the outputs of cached tokens are not kept.
    """

    def __init__(
        self,
        model: Path,
        *,
        dtype: str = "auto",
        max_model_len: int = 2048,
        kv_cache_gib: float = 1.0,
        gpu_memory: float = 0.2,
    ) -> None:
        self._llm: Any = start(
            model,
            dtype=dtype,
            max_model_len=max_model_len,
            kv_cache_gib=kv_cache_gib,
            gpu_memory=gpu_memory,
            runner="pooling",
        )

    def logits(self, prompts: Sequence[Ids]) -> list[Floats]:
        """One array a prompt, in order: (tokens, labels)."""
        from vllm import PoolingParams

        if not prompts:
            return []
        outputs = self._llm.encode(
            [{"prompt_token_ids": list(prompt)} for prompt in prompts],
            pooling_params=PoolingParams(use_activation=False),
            pooling_task="token_classify",
            use_tqdm=False,
        )
        return [output.outputs.data.double().numpy() for output in outputs]
