"""The helpers of `tests/` are there for these tests too: a scripted engine, small logs."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import settings

ROOT = Path(__file__).parents[2]
for folder in (ROOT, ROOT / "tests"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

# A slow or shared machine must not fail a test that is right.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
