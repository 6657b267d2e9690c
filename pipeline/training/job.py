"""A training as a job: written to a file, run in a process of its own, watched from here. Imports no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, Literal

from apportion.pipeline.core.config import TrainConfig
from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.core.subprocesses import end_with_parent, ending, last_words

_WORKER = "apportion.pipeline.training.worker"
Kind = Literal["dpo", "grpo"]
_NOT_FOR: dict[Kind, set[str]] = {
    "grpo": {"dpo_beta", "dpo_epochs", "margin"},
    "dpo": {"dpo_epochs", "beta", "epsilon", "epsilon_high", "importance_cap", "loss", "ratio"},
}
"""Keys of `train` that do not bear on a kind of training: a change there makes no other checkpoint."""


def settings_of(section: TrainConfig, kind: Kind) -> dict[str, Any]:
    """What the trainer is told: the section `train`, with the passes of this kind of training and no other's keys."""
    epochs = section.dpo_epochs if kind == "dpo" else section.epochs
    return section.model_copy(update={"epochs": epochs}).model_dump(mode="json", exclude=_NOT_FOR[kind])


@dataclass(frozen=True)
class Job:
    """One training: what to train on what, and where to write.

    kind: the trainer. model: checkpoint folder to start from. data: Parquet file with the columns of `train_rows`
    (grpo) or `preferences` (dpo). out: checkpoint folder that is written, whole or not at all.
    log: Parquet file of `training_log`. settings: the `train` section of the configuration. margin: dpo asks
    for the pair's margin. provenance: written into the checkpoint as apportion.json.
    """

    kind: Kind
    model: str
    data: str
    out: str
    log: str
    seed: int = 0
    iteration: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    margin: bool = False
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The job as text; `from_json` reads it."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job that `to_json` wrote."""
        return cls(**json.loads(text))


SILENCE_SECONDS = 24 * 3600.0
"""How long a trainer may say nothing: far longer than a step of any training that is worth waiting for."""
_END_SECONDS = 120.0
"""How long it may take to end once it has closed its output."""


def launch(job: Job, progress: Callable[[int, int], None] | None = None, silence: float = SILENCE_SECONDS) -> None:
    """Run the job to its end in a process of its own; `progress` gets (steps done, steps in all).

    Several processes (`settings["processes"]`) are started with torch's launcher, the one accelerate uses, and
    work together through accelerate. They end when this process does, also by kill -9 (Linux). Raises UserError
    for what the user can mend, WorkError with the trainer's own last words otherwise, also where it says nothing for
    `silence` seconds.
    """
    with tempfile.TemporaryDirectory(prefix="apportion-train-") as folder, open(f"{folder}/stderr", "w+") as errors:
        file = Path(folder) / "job.json"
        file.write_text(job.to_json(), encoding="utf-8")
        child = subprocess.Popen(
            _command(file, int(job.settings.get("processes", 1))),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=end_with_parent,
        )
        try:
            complaint = _listen(child, progress, silence)
            code = child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise WorkError(
                f"train: the trainer does nothing any more (silent for {error.timeout:,.0f} s) and was ended: "
                f"{last_words(errors)}; start it again"
            ) from error
        finally:
            child.kill()
            child.wait()
        if complaint:
            raise (UserError if complaint["user"] else WorkError)(complaint["error"])
        if code:
            raise WorkError(f"train: the trainer ended with {ending(code)}: {last_words(errors)}")


def _command(file: Path, processes: int) -> list[str]:
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    return [sys.executable, "-m", *(launcher if processes > 1 else []), _WORKER, str(file)]


def _listen(
    child: subprocess.Popen[str], progress: Callable[[int, int], None] | None, silence: float
) -> dict[str, Any] | None:
    """Pass the child's progress on; the result is its first complaint. Its other output is dropped.

    Raises subprocess.TimeoutExpired where no line comes for `silence` seconds.
    """
    complaint: dict[str, Any] | None = None
    lines: Queue[str | None] = Queue()
    Thread(target=_read, args=(child, lines), daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=silence)
        except Empty:
            raise subprocess.TimeoutExpired(child.args, silence) from None
        if line is None:
            return complaint
        if not line.startswith('{"'):
            continue
        said = json.loads(line)
        if "step" in said and progress:
            progress(said["step"], said["of"])
        elif "error" in said and complaint is None:
            complaint = said


def _read(child: subprocess.Popen[str], lines: Queue[str | None]) -> None:
    """Hand over the child's lines as they come, then None."""
    for line in child.stdout or ():
        lines.put(line)
    lines.put(None)
