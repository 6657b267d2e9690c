"""A token classifier in vLLM's pooling runner: what its layer of outputs says at every token of a prompt.

It runs in a process of its own, one for each call: vLLM 0.32 keeps one state of its parallel groups in a process, and
the second of two engines takes it from the first when it goes. A start costs some 20 s on 2 slow cores, so ask once,
for all prompts.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.core.subprocesses import end_with_parent, ending, last_words
from apportion.pipeline.engines.checkpoints import without_pattern
from apportion.pipeline.engines.plan import Ids
from apportion.pipeline.engines.vllm import start

Floats = NDArray[np.float64]
_USER_ERROR = 2
_SECONDS = 24 * 3600
"""How long one call may take: far longer than any that ends."""


@dataclass(frozen=True)
class TokenClassifier:
    """A checkpoint of `...ForTokenClassification`.

    A decoder is one for vLLM too: it loads LlamaForCausalLM and its like without the vocabulary's layer, and `score`,
    with its bias, in its place. Every prompt is computed whole, since the outputs of cached tokens are not kept.
    """

    model: str
    dtype: str = "auto"
    max_model_len: int = 2048
    kv_cache_gib: float = 1.0
    gpu_memory: float = 0.2

    def logits(self, prompts: Sequence[Ids]) -> list[Floats]:
        """One array a prompt, in order: (tokens, labels). UserError where vLLM cannot load the checkpoint."""
        if not prompts:
            return []
        options = {**asdict(self), "model": str(without_pattern(Path(self.model)))}
        ends = np.cumsum([len(prompt) for prompt in prompts])[:-1]
        with tempfile.TemporaryDirectory(prefix="apportion-pooling-") as name, open(f"{name}/stderr", "w+") as errors:
            folder = Path(name)
            (folder / "options.json").write_text(json.dumps(options), encoding="utf-8")
            np.savez(folder / "prompts.npz", ids=np.concatenate([np.array(p, np.int64) for p in prompts]), ends=ends)
            try:
                code = subprocess.run(
                    [sys.executable, "-m", __name__, name],
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    preexec_fn=end_with_parent,
                    check=False,
                    timeout=_SECONDS,
                ).returncode
            except subprocess.TimeoutExpired as error:
                raise WorkError(
                    f"the token classifier's process did not end within {_SECONDS:,} s: {last_words(errors)}"
                ) from error
            if code == _USER_ERROR:
                raise UserError(last_words(errors))
            if code:
                raise WorkError(f"the token classifier's process ended with {ending(code)}: {last_words(errors)}")
            return np.split(np.load(folder / "logits.npy"), ends)


def _serve(folder: Path) -> None:
    """The process: what `prompts.npz` asks into `logits.npy`."""
    from vllm import PoolingParams

    options: dict[str, Any] = json.loads((folder / "options.json").read_text(encoding="utf-8"))
    asked = np.load(folder / "prompts.npz")
    outputs = start(Path(options.pop("model")), runner="pooling", **options).encode(
        [{"prompt_token_ids": ids.tolist()} for ids in np.split(asked["ids"], asked["ends"])],
        pooling_params=PoolingParams(use_activation=False),
        pooling_task="token_classify",
        use_tqdm=False,
    )
    np.save(folder / "logits.npy", np.concatenate([output.outputs.data.double().numpy() for output in outputs]))


if __name__ == "__main__":
    try:
        _serve(Path(sys.argv[1]))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(_USER_ERROR)
