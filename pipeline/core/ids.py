"""Content-hash ids: the same inputs give the same id on every machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

MAX_NAME = 128
"""The longest name that becomes part of a file's name: file systems take 255 bytes, and ours add to it."""


def digest(value: Any, length: int = 16) -> str:
    """Hex digest of `value` as canonical JSON (sorted keys, no spaces); `length` hex characters."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()[:length]


def file_digest(path: Path, length: int = 16) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:length]


def seed_of(*parts: Any) -> int:
    """A seed in [0, 2**31) that depends on every part and on nothing else."""
    return int(digest(list(parts), 8), 16) & 0x7FFFFFFF
