"""A process model: a token classifier, trained here on planted errors, that says at the end of a step if it is wrong.

A layer of two outputs takes the place of the language model's vocabulary, and all of it but the token embeddings is
fine-tuned: cross-entropy at the last token of each step (`layout`), one pass over the examples. Steps up to the first
wrong one are examples; what comes after an error is neither right nor wrong and is left out. The score of a step is
log p(wrong) - log p(right) there, read in vLLM's pooling runner.

Status: source (a classifier over steps: arXiv 2305.20050), ours for the planted errors (`spoilt`) and the settings.
Degenerate: a step that the window cut off scores as the least suspicious of those that were read, 0 without any.
Cost: training three times a prefill of its examples (about 5 ms a token of a 135M model on 2 slow CPU cores), then one
prefill a solution.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.trajectory.case import Case, labelled_place
from research.process_scorers.layout import WINDOW, layout, window_of
from research.process_scorers.token_classifier import TokenClassifier

Floats = NDArray[np.float64]
LABELS = ("right", "wrong")
RATE = 5e-5
BATCH = 16
WARM_UP = 0.1
SETTINGS = (WINDOW, RATE, BATCH, WARM_UP)
_IGNORED = -100


def example(tokenizer: Any, case: Case, window: int = WINDOW) -> dict[str, list[int]]:
    """Token ids, and labels at the last tokens of the steps up to the first wrong one."""
    ids, spans = layout(tokenizer, case, window)
    wrong = labelled_place(case)
    until = len(spans) if wrong is None else wrong + 1
    labels = [_IGNORED] * len(ids)
    for place, (start, end) in enumerate(spans[:until]):
        if end > start:
            labels[end - 1] = int(place == wrong)
    return {"input_ids": ids, "labels": labels}


def train(base: Path, cases: Sequence[Case], target: Path, *, rate: float = RATE, seed: int = 0) -> None:
    """Fine-tune `base` on solutions that are sound or have a label; the checkpoint appears whole in `target`."""
    import torch
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        PrinterCallback,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    known = [case for case in cases if case.sound or case.label is not None]
    if not known:
        raise UserError("a process model needs solutions with a known first wrong step or without any")
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    names = dict(enumerate(LABELS))
    model = AutoModelForTokenClassification.from_pretrained(
        base,
        id2label=names,
        label2id={name: i for i, name in names.items()},
        dtype=torch.float32,
        trust_remote_code=False,
    )
    model.get_input_embeddings().requires_grad_(False)
    fresh = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    on_cpu = not torch.cuda.is_available()
    trainer = Trainer(
        model,
        TrainingArguments(
            str(fresh),
            seed=seed,
            learning_rate=rate,
            warmup_steps=WARM_UP,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            train_sampling_strategy="group_by_length",
            use_cpu=on_cpu,
            bf16=not on_cpu and torch.cuda.is_bf16_supported(),
            dataloader_pin_memory=not on_cpu,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        data_collator=DataCollatorForTokenClassification(tokenizer),
        train_dataset=[example(tokenizer, case, window_of(base)) for case in known],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    model.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(fresh, target)


class ProcessModel:
    """A trained process model, loaded to be read."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self._window = window_of(folder)
        self._classifier = TokenClassifier(str(folder), max_model_len=self._window)

    def scores(self, cases: Sequence[Case], progress: Callable[[int], None] | None = None) -> dict[str, Floats]:
        """Log-odds that each step is wrong, (steps,), by case."""
        laid = [layout(self._tokenizer, case, self._window - 1) for case in cases]
        logits = self._classifier.logits([tuple(ids) for ids, _ in laid])
        if progress:
            progress(len(cases))
        return {
            case.case_id: _scores(spans, odds[:, 1] - odds[:, 0])
            for case, (_, spans), odds in zip(cases, laid, logits, strict=True)
        }


def columns(score: Floats) -> Floats:
    """What a ranker sees of the scores of one solution: (steps, 5).

    The score, its rise over the step before, its distance from the mean, flags on the largest and on the first above 0.
    """
    if not len(score):
        return np.zeros((0, 5))
    before = np.concatenate([score[:1], score[:-1]])
    top = np.arange(len(score)) == int(score.argmax())
    first = np.zeros(len(score))
    if (score > 0).any():
        first[int((score > 0).argmax())] = 1.0
    return np.column_stack([score, score - before, score - score.mean(), top, first]).astype(float)


def _scores(spans: Sequence[tuple[int, int]], odds: Floats) -> Floats:
    read = [float(odds[end - 1]) for start, end in spans if end > start]
    lowest = min(read, default=0.0)
    return np.array([odds[end - 1] if end > start else lowest for start, end in spans], dtype=float)
