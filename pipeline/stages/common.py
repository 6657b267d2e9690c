"""What stages share."""

from __future__ import annotations

from apportion.pipeline.core.config import Config
from apportion.pipeline.tasks.reading.files import load_questions

ALGORITHM_VERSION = 2
"""Raise it when the same inputs would give other rows: shards of older versions are then done again."""


def set_apart(config: Config) -> list[str]:
    """The questions of `export.evaluation`, which no data set may hold and no training may see."""
    file = config.export.evaluation
    return load_questions(file, config.tasks.question) if file else []
