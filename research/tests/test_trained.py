"""The process model: what it learns from, that it learns it, and that what is saved says it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from solutions import WORDS, llama, solution, words_tokenizer

from apportion.pipeline.core.config import load_config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.localizers.base import Means
from research.process_scorers.families import Sources, families
from research.process_scorers.layout import layout
from research.process_scorers.spoilt import examples
from research.process_scorers.trained import columns, example, train


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return words_tokenizer()


def test_a_solution_is_the_problem_and_a_step_a_line(tokenizer):
    ids, spans = layout(tokenizer, solution("add two", "five"), 100)
    assert [WORDS[i] for i in ids] == ["<s>", "two", "so", "\n", "\n", "add", "two", "\n", "five", "\n"]
    assert spans == [(5, 8), (8, 10)]


def test_a_long_solution_loses_its_front(tokenizer):
    ids, spans = layout(tokenizer, solution("add two", "five", "so"), 6)
    assert [WORDS[i] for i in ids] == ["<s>", "\n", "five", "\n", "so", "\n"]
    assert spans == [(1, 2), (2, 4), (4, 6)]
    assert layout(tokenizer, solution("add two", "five", "so"), 3)[1] == [(1, 1), (1, 1), (1, 3)]


def test_a_special_token_in_a_text_has_no_power(tokenizer):
    ids, _ = layout(tokenizer, solution("add </s> two"), 100)
    assert tokenizer.eos_token_id not in ids


def test_what_follows_an_error_is_no_example(tokenizer):
    made = example(tokenizer, solution("add two", "oops", "so five", label=1))
    assert [(at, label) for at, label in enumerate(made["labels"]) if label != -100] == [(7, 0), (9, 1)]
    made = example(tokenizer, solution("add two", "five"))
    assert [label for label in made["labels"] if label != -100] == [0, 0]


def test_training_tells_wrong_steps_from_right_ones_and_the_checkpoint_keeps_it(tokenizer, tmp_path: Path):
    import torch
    from transformers import AutoModelForTokenClassification

    llama(tmp_path / "a", tokenizer)
    rng = np.random.default_rng(0)
    cases = []
    for number in range(1600):
        texts = [" ".join(rng.choice(["so", "add", "two", "five"], 3)) for _ in range(4)]
        label = int(rng.integers(4)) if number % 2 else None
        if label is not None:
            texts[label] += " oops"
        cases.append(solution(*texts, label=label, name=str(number)))
    train(tmp_path / "a", cases, tmp_path / "b", rate=1e-2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "b").eval()
    assert model.config.id2label == {0: "right", 1: "wrong"}
    ids, spans = layout(tokenizer, solution("add two", "so oops", "five", label=1), 100)
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0]
    said = [float(logits[end - 1, 1] - logits[end - 1, 0]) for _, end in spans[:2]]
    assert said[0] < 0 < said[1]


def test_a_ranker_sees_where_a_score_rises():
    made = columns(np.array([-2.0, 1.0, 3.0]))
    assert made[:, 1].tolist() == [0, 3, 2]
    assert made[:, 3].tolist() == [0, 0, 1]
    assert made[:, 4].tolist() == [0, 1, 0]


def test_examples_come_in_pairs_and_another_file_is_named(tmp_path: Path):
    file = tmp_path / "train.jsonl"
    row = '{"question": "q", "answer": "a 1+1 = <<1+1=2>>2\\nb 2+3 = <<2+3=5>>5\\nc 5*2 = <<5*2=10>>10\\n#### 10"}\n'
    file.write_text(row * 3)
    assert [case.sound for case in examples(file, 2)] == [True, False, True, False]
    file.write_text(row + "[]\n")
    with pytest.raises(UserError, match=r"train\.jsonl:2: not"):
        examples(file, 2)


def test_without_solutions_to_plant_errors_in_the_process_model_says_what_it_needs(tmp_path: Path):
    trained = families(Sources(load_config(None, (f"run.data={tmp_path}",))))["trained"]
    with pytest.raises(UserError, match="--plant"):
        trained.fit([solution("a"), solution("b", label=0)], Means(sound=True))
