"""transformers, one prompt at a time, in float32: the slow reference that vLLM is checked against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.engines.base import Progress, Sample, SampleRequest, Score, ScoreRequest
from pipeline.ids import digest
from pipeline.models import fingerprint


class ReferenceEngine:
    """Plain `transformers` forward passes: no cache, no batching, no approximation."""

    def __init__(self, model: Path, *, dtype: str = "float32", max_model_len: int = 4096) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self._model = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
        self.max_model_len = max_model_len
        self.fingerprint = digest([*fingerprint(model), dtype])

    def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        """Ancestral sampling with the whole context recomputed for every token."""
        return [self._sample_one(request) for request in requests]

    def score(self, requests: Sequence[ScoreRequest], progress: Progress | None = None) -> list[Score]:
        """Log-probabilities of the target tokens by one forward pass each."""
        import torch

        scores = []
        for request in requests:
            with torch.inference_mode():
                logits = self._model(torch.tensor([request.ids])).logits[0].float()
            start = len(request.prefix_ids)
            logprobs = logits[start - 1 : -1].log_softmax(-1)
            targets = torch.tensor(request.target_ids)
            values = logprobs.gather(1, targets[:, None])[:, 0].tolist()
            scores.append(Score(tuple(values), len(request.ids), 0))
            if progress:
                progress(1)
        return scores

    def reset_prefix_cache(self) -> None:
        """Nothing is cached."""

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
