"""Libraries kept quiet, off the network and without telemetry. Imported before any of them."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from apportion.pipeline.core.errors import UserError

_PLAY = ("vllm", "prefect", "sqlalchemy", "bm25s", "math_verify", "gguf")
_TRAIN = ("trl", "peft", "accelerate")
_BOTH = ("torch", "transformers", "datasets", "safetensors", "tokenizers", "huggingface_hub")
_TO_PLAY, _TO_TRAIN = "'apportion[cpu]' (with a GPU 'apportion[cuda]')", "'apportion[train]'"
_NEEDS = {
    **dict.fromkeys(("sample", "inject", "audit"), ("prefect", "transformers", "vllm")),
    # Imported logs may be read without an engine.
    **dict.fromkeys(("annotate", "credit", "blame"), ("prefect", "transformers")),
    "train": ("transformers", *_TRAIN),
    "loop": ("prefect", "transformers", "vllm", *_TRAIN),
    "demo": ("prefect", "transformers", "vllm", *_TRAIN),
}
"""Verb -> libraries that it cannot do without; the others find out as they go."""

_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TQDM_DISABLE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "CRITICAL",
    # One process holds the engine: it starts faster on few cores and leaves no orphan after kill -9.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Threads that wait for each other burn their cores by default: beside any other busy process that makes vLLM and
    # torch eight times slower on two cores.
    "GOMP_SPINCOUNT": "2000",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_CLI_PROMPT": "false",
    # Processes of ours are started where the user is, whose folder may hold a `pipeline` or `flows` of its own.
    "PYTHONSAFEPATH": "1",
}


_OURS = "True"
"""Our own way to write yes, so that what the user has set is told apart."""


def hush(data_root: Path, *, hub: bool = False) -> None:
    """Set every default that the user has not set; `hub` lets Hugging Face libraries use the network.

    Prefect's own database goes to `data_root/prefect`, so that nothing is written outside the project.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if os.environ.get("HF_HUB_OFFLINE", _OURS) == _OURS:
        os.environ["HF_HUB_OFFLINE"] = "0" if hub else _OURS
    _be_found()
    home = (data_root / "prefect").absolute()
    os.environ.setdefault("PREFECT_HOME", str(home))
    os.environ.setdefault("PREFECT_LOCAL_STORAGE_PATH", str(home / "storage"))
    os.environ.setdefault("PREFECT_MEMO_STORE_PATH", str(home / "memo_store.toml"))
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    # It says so where the data folder is not there yet, and makes both when it needs them.
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home")
    for name in ("torch", "transformers", "datasets", "httpx", "bm25s", "vllm", "EventsWorker"):
        logging.getLogger(name).setLevel(logging.ERROR)


def require(verb: str) -> None:
    """Raise UserError, with the extra to install, where a library that `verb` cannot do without is missing."""
    missing = [name for name in _NEEDS.get(verb, ()) if find_spec(name) is None]
    if missing:
        extras = [_TO_TRAIN if name in _TRAIN or verb == "train" else _TO_PLAY for name in missing]
        cure = " and ".join(dict.fromkeys(extras))
        raise UserError(f"{verb} needs {', '.join(missing)}, not installed here: pip install {cure}")


def extra_for(module: str) -> str:
    """The command that installs a missing library of ours; empty where it is none."""
    name = module.partition(".")[0]
    if name in _BOTH:
        return f"pip install {_TO_PLAY}, or to train {_TO_TRAIN}"
    cures = {**dict.fromkeys(_PLAY, _TO_PLAY), **dict.fromkeys(_TRAIN, _TO_TRAIN)}
    return f"pip install {cures[name]}" if name in cures else ""


def _be_found() -> None:
    """Let the processes that we start find this very code, also where it is not installed.

    An installed one they find as we did; to name its checkout would let that hide the user's `flows` or `pipeline`.
    """
    root, known = str(Path(__file__).absolute().parents[3]), os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if root not in map(os.path.abspath, sys.path):
        return
    if root not in (*known, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, known)])


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """What native libraries and loaders print goes to the null device; an exception still comes through.

    APPORTION_DEBUG=1 lets it be seen.
    """
    if os.environ.get("APPORTION_DEBUG"):
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        os.dup2(null, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for handle in (*saved, null):
            os.close(handle)
