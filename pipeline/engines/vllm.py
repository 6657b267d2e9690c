"""vLLM inside this process: batched sampling, and scoring with prefixes shared in its cache."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.core.ids import digest
from apportion.pipeline.core.libraries import silent
from apportion.pipeline.engines.base import Progress, Sample, SampleRequest, Score, ScoreRequest
from apportion.pipeline.engines.checkpoints import fingerprint, is_cpu_build, resolve_dtype
from apportion.pipeline.engines.plan import Ids, batches, heads, waves
from apportion.pipeline.engines.reload import EXTENSION, read_layout

CPU_BLOCK = 32
"""Cache block on a CPU: finer than the default of 128, so that shorter prefixes are shared."""


_CPU_OPTIONS = {
    "block_size": CPU_BLOCK,
    "enforce_eager": True,
    # A prompt cut in two makes vLLM 0.32 rewind its request's random generator, which a CPU generator cannot do.
    "enable_chunked_prefill": False,
}


class VllmEngine:
    """One vLLM engine. It is not thread-safe: one caller at a time. Several in a process get on with each other."""

    def __init__(
        self,
        model: Path,
        *,
        dtype: str = "auto",
        max_model_len: int = 4096,
        kv_cache_gib: float = 2.0,
        gpu_memory: float = 0.5,
    ) -> None:
        dtype = resolve_dtype(dtype)
        self._llm = start(
            model,
            dtype=dtype,
            max_model_len=max_model_len,
            kv_cache_gib=kv_cache_gib,
            gpu_memory=gpu_memory,
            enable_prefix_caching=True,
            logprobs_mode="processed_logprobs",
            worker_extension_cls=EXTENSION,
        )
        self._asked_dtype = dtype
        self.dtype = str(self._llm.llm_engine.vllm_config.model_config.dtype).removeprefix("torch.")
        self.tokenizer = self._llm.get_tokenizer()
        self.max_model_len = max_model_len
        cache = self._llm.llm_engine.vllm_config.cache_config
        self.block_size = int(cache.block_size)
        self._capacity = int(cache.num_gpu_blocks or 0) * self.block_size
        self._on_cpu = _on_cpu()
        self._layout = read_layout(model)
        weights, self._tokenizer_digest = fingerprint(model)
        self.fingerprint = digest([weights, self._tokenizer_digest, dtype])

    def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        """One continuation per request, in order; log-probabilities as processed by temperature and truncation."""
        from vllm import SamplingParams

        params = [
            SamplingParams(
                temperature=request.temperature,
                top_p=request.top_p,
                top_k=request.top_k,
                max_tokens=request.max_tokens,
                seed=request.seed,
                logprobs=0,
            )
            for request in requests
        ]
        outputs = self._generate([request.prompt_ids for request in requests], params)
        samples = []
        for output in outputs:
            one = output.outputs[0]
            tokens = tuple(one.token_ids)
            logprobs = tuple(step[token].logprob for token, step in zip(tokens, one.logprobs, strict=True))
            samples.append(Sample(one.text, tokens, logprobs, str(one.finish_reason), output.num_cached_tokens or 0))
        return samples

    def score(self, requests: Sequence[ScoreRequest], progress: Progress | None = None) -> list[Score]:
        """Log-probabilities of the target tokens; equal requests are computed once, shared prefixes once.

        A prompt's cached positions come back as uninitialised memory, so a response is used only where the cache
        ended before the token that predicts the first target token, and asked again without the cache elsewhere.
        """
        distinct = list(dict.fromkeys(requests))
        done: dict[ScoreRequest, Score] = {}
        for members in batches([request.ids for request in distinct], self._capacity // 2):
            asked = [distinct[i] for i in members]
            computed = self._warm([request.prefix_ids[:-1] for request in asked])
            for request, score in zip(asked, self._score_wave(asked), strict=True):
                fresh = computed.pop(request.prefix_ids[: score.cached_tokens], 0)
                done[request] = replace(score, cached_tokens=score.cached_tokens - fresh)
            if progress:
                progress(len(asked))
        if progress:
            progress(len(requests) - len(distinct))
        return [done[request] for request in requests]

    def reset_prefix_cache(self) -> None:
        """Forget every cached prefix."""
        if not self._llm.reset_prefix_cache():
            raise WorkError("vLLM keeps its cached prefixes: a request was left unfinished; start again")

    def load_weights(self, model: Path) -> None:
        """Put the weights of the checkpoint folder `model` in the place of the engine's own.

        Files must not change while they are read: give every policy version a folder of its own.
        """
        self._layout.refuse(model, read_layout(model))
        weights, _ = fingerprint(model)
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(model)})
        if self._on_cpu:
            self._llm.collective_rpc("repack_output_layer")
        self.reset_prefix_cache()
        self.fingerprint = digest([weights, self._tokenizer_digest, self._asked_dtype])

    def unequal_weights(self, model: Path) -> list[str]:
        """Compared inside the worker, number by number (`apportion.pipeline.engines.proof`)."""
        with silent():
            found = self._llm.collective_rpc("unequal_weights", args=(str(model),))
        return list(dict.fromkeys(name for worker in found for name in worker))

    def _warm(self, prefixes: Sequence[Ids]) -> dict[Ids, int]:
        """Compute the full blocks of some prefixes into the cache, each once: tokens computed, by head."""
        from vllm import SamplingParams

        found = heads(prefixes, self.block_size)
        params = SamplingParams(temperature=0.0, max_tokens=1, detokenize=False)
        computed: dict[Ids, int] = {}
        for wave in waves(found, self.block_size):
            asked = [found[i] for i in wave]
            for head, output in zip(asked, self._generate(asked, [params] * len(asked)), strict=True):
                computed[head] = len(head) - (output.num_cached_tokens or 0)
        return computed

    def _score_wave(self, requests: Sequence[ScoreRequest], *, use_cache: bool = True) -> list[Score]:
        from vllm import SamplingParams

        params = SamplingParams(
            prompt_logprobs=0, max_tokens=1, detokenize=False, skip_reading_prefix_cache=not use_cache
        )
        outputs = self._generate([request.ids for request in requests], [params] * len(requests))
        unread = [
            position
            for position, (request, output) in enumerate(zip(requests, outputs, strict=True))
            if (output.num_cached_tokens or 0) >= len(request.prefix_ids)
        ]
        if unread and not use_cache:
            raise AssertionError("vLLM reported cached tokens for a request that may not read its cache")
        redone = self._score_wave([requests[i] for i in unread], use_cache=False) if unread else []
        again = dict(zip(unread, redone, strict=True))
        return [
            again[position] if position in again else _read_score(request, output)
            for position, (request, output) in enumerate(zip(requests, outputs, strict=True))
        ]

    def _generate(self, prompts: Sequence[Sequence[int]], params: list[Any]) -> list[Any]:
        if not prompts:
            return []
        return list(self._llm.generate([{"prompt_token_ids": list(p)} for p in prompts], params, use_tqdm=False))


def start(
    model: Path, *, dtype: str, max_model_len: int, kv_cache_gib: float, gpu_memory: float, **options: Any
) -> Any:
    """vLLM's own engine over a checkpoint, quietly, as both runners want it. UserError where vLLM cannot load it."""
    with silent(), _own_preload():
        if is_cpu_build():
            _without_compiler()
        from vllm import LLM

        _shield_llvmlite()
        if _on_cpu():
            # Each engine has a cache of its own; the user's VLLM_CPU_KVCACHE_SPACE goes before this.
            cache = max(1, round(kv_cache_gib)) * 2**30
            options |= {
                **_CPU_OPTIONS, "kv_cache_memory_bytes": cache, "max_num_batched_tokens": max(4096, max_model_len),
            }  # fmt: skip
        else:
            options |= {"gpu_memory_utilization": gpu_memory}
        try:
            return LLM(
                str(model),
                dtype=resolve_dtype(dtype),
                max_model_len=max_model_len,
                disable_log_stats=True,
                max_num_seqs=256,
                seed=0,
                use_tqdm_on_load=False,
                trust_remote_code=False,
                **options,
            )
        except (ValueError, OSError) as error:
            raise UserError(f"model.path = {str(model)!r}: vLLM cannot load it ({_reason(error)})") from error


def _without_compiler() -> None:
    """vLLM compiles one small function of its sampler: that needs a C++ compiler, which fails in a folder whose name
    has a space. It has to be said before vLLM is imported.
    """
    import torch._dynamo

    torch._dynamo.config.disable = True


@contextlib.contextmanager
def _own_preload() -> Iterator[None]:
    """vLLM names libraries in LD_PRELOAD for workers of its own; whatever else this process starts goes without them,
    and a path with a space would make every program complain.
    """
    before = os.environ.get("LD_PRELOAD")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("LD_PRELOAD", None)
        else:
            os.environ["LD_PRELOAD"] = before


def _reason(error: Exception) -> str:
    """The first line that says what is wrong; a configuration's error says it below its title."""
    told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
    return next(iter(told.strip().splitlines()), type(error).__name__)


def _on_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def _read_score(request: ScoreRequest, output: Any) -> Score:
    steps = output.prompt_logprobs[len(request.prefix_ids) :]
    values = tuple(float(step[token].logprob) for step, token in zip(steps, request.target_ids, strict=True))
    return Score(values, len(request.ids), output.num_cached_tokens or 0)


def _shield_llvmlite() -> None:
    """vLLM 0.32 looks into every object of every loaded module; llvmlite's library handle (loaded by numba, which
    search tools load) answers any attribute with a C function, which ends vLLM's start. Give it an empty `__dict__`.
    """
    binding = sys.modules.get("llvmlite.binding.ffi")
    if binding is not None:
        binding.lib._fntab.setdefault("__dict__", {})
