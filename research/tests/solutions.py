"""Solutions of a few words, and a tiny model that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from apportion.pipeline.trajectory.case import Case, Label, Step

WORDS = ("<pad>", "<s>", "</s>", "<unk>", "so", "add", "two", "five", "oops", "\n")


def solution(*texts: str, label: int | None = None, name: str = "c") -> Case:
    steps = tuple(Step(i, "solver", "assistant", None, text) for i, text in enumerate(texts))
    wrong = None if label is None else Label(label, "solver")
    return Case(name, "two so", None, None, steps, "gsm8k", wrong, sound=label is None)


def words_tokenizer() -> Any:
    """A word or a line break a token."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex("\n"), "isolated"), pre_tokenizers.Split(" ", "removed")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def llama(folder: Path, tokenizer: Any) -> None:
    """A checkpoint with two layers of random weights, large enough that tokens differ in probability."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS), initializer_range=0.2, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
