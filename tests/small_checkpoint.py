"""A checkpoint folder that is whole and next to nothing: enough for everything that looks at a model before it runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

TEMPLATE = "{% for m in messages %}<{{ m.role }}> {{ m.content }} {% endfor %}<assistant> "
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE
)


def write_checkpoint(folder: Path, template: str | None = TEMPLATE) -> Path:
    """A tokenizer of words with a chat template, a configuration, and weights that nobody reads."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    told = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 100_000}
    (folder / "config.json").write_text(json.dumps(told))
    save_file({"weight": np.zeros(4, np.float32)}, folder / "model.safetensors")
    return folder
