"""An engine of plain transformers, one prompt at a time: what vLLM is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from apportion.pipeline.core.ids import digest
from apportion.pipeline.engines.base import Progress, Sample, SampleRequest, Score, ScoreRequest
from apportion.pipeline.engines.checkpoints import fingerprint
from apportion.pipeline.engines.reference import load, target_logprobs
from apportion.pipeline.engines.reload import read_layout


class ReferenceEngine:
    """Plain `transformers` forward passes: no cache, no batching, no approximation."""

    def __init__(self, model: Path, *, dtype: str = "float32", max_model_len: int = 4096) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        self.dtype = dtype
        self._layout = read_layout(model)
        self._model = load(model, dtype)
        self.max_model_len = max_model_len
        weights, self._tokenizer_digest = fingerprint(model)
        self.fingerprint = digest([weights, self._tokenizer_digest, dtype])

    def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        """Ancestral sampling with the whole context recomputed for every token."""
        return [self._sample_one(request) for request in requests]

    def score(self, requests: Sequence[ScoreRequest], progress: Progress | None = None) -> list[Score]:
        """Log-probabilities of the target tokens by one forward pass each."""
        scores = []
        for request in requests:
            scores.append(Score(tuple(target_logprobs(self._model, request)), len(request.ids), 0))
            if progress:
                progress(1)
        return scores

    def reset_prefix_cache(self) -> None:
        """Nothing is cached."""

    def load_weights(self, model: Path) -> None:
        """Another checkpoint in the place of this one; the tokenizer stays."""
        self._layout.refuse(model, read_layout(model))
        self._model = load(model, self.dtype)
        self.fingerprint = digest([fingerprint(model)[0], self._tokenizer_digest, self.dtype])

    def unequal_weights(self, model: Path) -> list[str]:
        """Compared by name with the checkpoint, read again."""
        held = dict(self._model.named_parameters())
        return [name for name, right in load(model, self.dtype).named_parameters() if not held[name].equal(right)]

    def _sample_one(self, request: SampleRequest) -> Sample:
        import torch

        generator = torch.Generator().manual_seed(request.seed)
        ids, logprobs = list(request.prompt_ids), []
        for _ in range(request.max_tokens):
            with torch.inference_mode():
                logits = self._model(torch.tensor([ids])).logits[0, -1].float()
            scaled = logits / request.temperature if request.temperature else logits
            probabilities = scaled.softmax(-1)
            if request.temperature:
                token = int(torch.multinomial(probabilities, 1, generator=generator))
            else:
                token = int(probabilities.argmax())
            logprobs.append(float(probabilities[token].log()))
            ids.append(token)
            if token == self.tokenizer.eos_token_id:
                break
        tokens = tuple(ids[len(request.prompt_ids) :])
        reason = "stop" if tokens and tokens[-1] == self.tokenizer.eos_token_id else "length"
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return Sample(text, tokens, tuple(logprobs), reason, 0)
