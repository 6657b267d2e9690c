"""Keyword search over a small collection of documents."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.scripts import SPACELESS, terms
from apportion.pipeline.tools.base import Tool, ToolResult

NOTHING_FOUND = "nothing found"
MAX_QUERY_TOKENS = 256

_TOKEN = re.compile(rf"(?P<run>[{SPACELESS}]+)|(?:(?![{SPACELESS}])[^\W_])+")
_LETTER_OR_MARK = re.compile(f"[{SPACELESS}]")


def tokenize(text: str) -> list[str]:
    """Lower-case words without accents; no stop words, no stemming: every word can be searched for.

    Chinese, Japanese, Thai and other scripts without spaces are cut into pairs of neighbouring letters, and Chinese
    into characters too, so that a question finds a document which shares a part of its sentence.
    """
    folded = unicodedata.normalize("NFKD", text)
    bare = "".join(mark for mark in folded if not unicodedata.combining(mark) or _LETTER_OR_MARK.match(mark))
    found = _TOKEN.finditer(unicodedata.normalize("NFC", bare).lower())
    return [term for match in found for term in (terms(match["run"]) if match["run"] else [match[0]])]


class Index:
    """Documents in memory that can be searched."""

    def __init__(self, documents: Sequence[str], k: int = 1) -> None:
        """Index `documents`. Raises UserError when none has a word in it."""
        import logging

        import bm25s

        # bm25s sets its own logger to DEBUG on import, which would flood a log that shows that level.
        logging.getLogger("bm25s").setLevel(logging.WARNING)
        tokens = [tokenize(document) for document in documents]
        if not any(tokens):
            raise UserError("search: there is no document with a word in it; give at least one")
        self.k = k
        self.documents = tuple(documents)
        self._index = bm25s.BM25(backend="numpy")
        self._index.index(tokens, show_progress=False)

    def run(self, text: str) -> ToolResult:
        """See `Search.run`."""
        import numpy as np

        words = tokenize(text)[:MAX_QUERY_TOKENS]
        if not words:
            return ToolResult("error: the query is empty; give some words to search for", False)
        scores = self._index.get_scores(words)
        hits = np.flatnonzero(scores > 0)
        best = hits[np.lexsort((hits, -scores[hits]))][: self.k]
        return ToolResult("\n".join(self.documents[at] for at in best) or NOTHING_FOUND, True)


class Search(Tool):
    """The `k` best documents by BM25 (Lucene's, k1 1.5, b 0.75), one a line; ties go to the earlier one.

    A query that shares no word with any document yields "nothing found"; one without words is a malformed
    call.
    Status: source (BM25 of bm25s, arXiv 2407.03618); what is a word is ours: no stop words, no stemming.
    Files are .jsonl of {"text"} or {"title", "text"}, .txt lines, or .parquet with those columns. Raises UserError for
    a missing file, another suffix, or a row without text.
    """

    name: ClassVar[str] = "search"

    documents: str | list[str]
    """One or several files, a document per line; they are indexed as one set."""
    k: int = Field(1, ge=1, le=1_000_000)
    """Documents returned."""
    _index: Index = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Index the files."""
        files = [self.documents] if isinstance(self.documents, str) else self.documents
        self._index = Index([text for file in files for text in documents_in(Path(file))], self.k)

    def run(self, text: str) -> ToolResult:
        """The best documents for the words of `text`, best first, one a line."""
        return self._index.run(text)


def documents_in(path: Path) -> Iterator[str]:
    """The documents of a file. Raises UserError where it cannot be read, or a row has no text."""
    if not path.is_file():
        raise UserError(f"{path}: no such document file; give a .jsonl, .txt or .parquet file")
    match path.suffix.lower():
        case ".txt":
            yield from (line.strip() for line in _text(path).split("\n") if line.strip())
        case ".jsonl" | ".ndjson":
            for number, line in enumerate(_text(path).split("\n"), start=1):
                if line.strip():
                    yield _document(_json(line, path, number), f"{path}:{number}")
        case ".parquet":
            yield from _parquet(path)
        case suffix:
            raise UserError(f"{path}: cannot read {suffix or 'a file without suffix'}; use .jsonl, .txt or .parquet")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 (byte {error.start}); convert it first") from error


def _json(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}:{number}: is not JSON ({error}); correct or remove the line") from error


def _document(row: Any, place: str) -> str:
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise UserError(f'{place}: has no text in "text"; correct or remove the row')
    title = row.get("title")
    return " ".join(f"{title}: {text}".split()) if isinstance(title, str) and title else " ".join(text.split())


def _parquet(path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: is not a readable Parquet file ({str(error).splitlines()[0]})") from error
    if "text" not in file.schema_arrow.names:
        raise UserError(f'{path}: has no column "text"; it has {", ".join(file.schema_arrow.names)}')
    columns = [name for name in ("title", "text") if name in file.schema_arrow.names]
    rows = (row for batch in file.iter_batches(columns=columns) for row in batch.to_pylist())
    for number, row in enumerate(rows, start=1):
        yield _document(row, f"{path}: row {number}")
