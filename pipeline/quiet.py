"""Libraries kept quiet, off the network and without telemetry. Imported before any of them."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "CRITICAL",
    # One process holds the engine: it starts faster on few cores and leaves no orphan after kill -9.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_CLI_PROMPT": "false",
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
    home = (data_root / "prefect").absolute()
    os.environ.setdefault("PREFECT_HOME", str(home))
    os.environ.setdefault("PREFECT_LOCAL_STORAGE_PATH", str(home / "storage"))
    os.environ.setdefault("PREFECT_MEMO_STORE_PATH", str(home / "memo_store.toml"))
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    for name in ("torch", "transformers", "datasets", "httpx", "bm25s", "vllm", "EventsWorker"):
        logging.getLogger(name).setLevel(logging.ERROR)
