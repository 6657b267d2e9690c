"""New weights for a running vLLM engine: what must fit before, and what has to be packed again after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.engines.checkpoints import shape_of

EXTENSION = "apportion.pipeline.engines.reload.WeightsExtension"
"""`worker_extension_cls` of every engine."""


class WeightsExtension:
    """What vLLM's worker can do beside its own. The methods' names must be new to it."""

    model_runner: Any
    vllm_config: Any

    def unequal_weights(self, folder: str) -> list[str]:
        """Names of the worker's tensors that are not those of the checkpoint in `folder`; none is right."""
        from apportion.pipeline.engines.proof import unequal_weights

        return unequal_weights(self.model_runner.get_model(), self.vllm_config, Path(folder))

    def repack_output_layer(self) -> None:
        """On a CPU: pack the weight that the output layer holds now.

        On a CPU every linear layer multiplies by a packed copy of its weight. vLLM 0.32 packs a layer again when the
        checkpoint brings its weight. An output layer that is tied to the input embedding has no weight in the
        checkpoint: it shares the embedding's new one, and would go on multiplying by the old copy, silently.
        """
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

        for layer in self.model_runner.get_model().modules():
            if isinstance(layer, ParallelLMHead):
                layer.quant_method.process_weights_after_loading(layer)


@dataclass(frozen=True)
class Layout:
    """What two checkpoints must share for one to take the other's place."""

    config: dict[str, Any]
    tensors: dict[str, tuple[int, ...]]
    """Shape of every tensor in the safetensors files, by name."""

    def refuse(self, model: Path, other: Layout) -> None:
        """UserError unless `other`, read from `model`, fits where this one is."""
        ours, theirs = self.config, other.config
        names = [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
        if names:
            told = ", ".join(f"{name} {theirs.get(name)!r} instead of {ours.get(name)!r}" for name in names[:3])
            raise UserError(f"{_place(model)}: not the running model's architecture ({told}); start a new process")
        shared = self.tensors.keys() & other.tensors.keys()
        name = next((name for name in sorted(shared) if self.tensors[name] != other.tensors[name]), None)
        if name is not None:
            raise UserError(
                f"{_place(model)}: {name} has shape {list(other.tensors[name])} instead of "
                f"{list(self.tensors[name])}; the folder's weights do not fit its config.json, write it anew"
            )


def read_layout(model: Path) -> Layout:
    """The layout of a checkpoint folder, out of config.json and the headers of its safetensors files.

    Raises UserError when the folder is no checkpoint or a file of it is damaged or cut short.
    """
    from safetensors import SafetensorError, safe_open

    if not (model / "config.json").is_file():
        raise UserError(f"{_place(model)}: no checkpoint (no config.json); give a folder made by save_pretrained")
    tensors = {}
    for file in sorted(model.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as opened:
                tensors.update({name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()})  # noqa: SIM118
        except SafetensorError as error:
            raise UserError(f"{_place(model)}: {file.name} is damaged ({error}); write the checkpoint anew") from error
    return Layout(shape_of(model), tensors)


def _place(model: Path) -> str:
    return f"weights {str(model)!r}"
