"""What a rollout is played by: runs are continued under the same rules alone."""

from __future__ import annotations

from pathlib import Path

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest, file_digest


def rules_of(config: Config) -> str:
    """Digest of what a rollout is played by: team, decoding, verifier, documents, seed."""
    documents = sorted({file for tool in config.team.tools.values() for file in _files(tool.documents)})
    try:
        return digest([config.sampling(), [file_digest(Path(file)) for file in documents]])
    except OSError as error:
        raise UserError(f"{error.filename}: the document file cannot be read ({error.strerror})") from error


def _files(documents: str | list[str]) -> list[str]:
    return [documents] if isinstance(documents, str) else documents
