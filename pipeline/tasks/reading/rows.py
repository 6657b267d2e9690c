"""The rows of one task file: JSON lines, a JSON document, CSV, TSV or Parquet, compressed or not.

What a file is shows in its first bytes as well: a pointer of Git LFS or a web page in its place is refused by name.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.tasks.reading.documents import rows_of_document

_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
_SUFFIXES = (".gz", ".zst", ".zstd", ".bz2")
_TEXTS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
KINDS = (*_TEXTS, ".parquet")
"""Suffixes that are read; each but Parquet may be followed by .gz, .zst or .bz2."""

_WIDEST_CELL = 2**30
_SURROGATE = re.compile(r"\\u[dD][89abAB]")


@dataclass(frozen=True)
class Row:
    """One input row: where it stands, its columns, or the bad text and why it is bad."""

    source: str
    line: int
    columns: Any
    problem: str | None = None


def kind_of(path: Path) -> str:
    """The suffix that says how `path` is read, a compression's left out; the last suffix where none is known."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if len(suffixes) > 1 and suffixes[-1] in _SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def rows_of(path: Path, split: str | None) -> Iterator[Row]:
    """The rows of one file, in its order. Raises UserError for a file that cannot be read as a whole.

    `split` chooses where a JSON document holds several lists.
    """
    kind = kind_of(path)
    if kind not in KINDS:
        raise UserError(f"{path}: cannot read {kind!r} files; use {', '.join(KINDS)} or a folder of them")
    try:
        with path.open("rb") as file:
            _refuse_stand_in(path, file.read(1024))
        if kind == ".parquet":
            yield from _parquet(path)
        elif kind in (".csv", ".tsv"):
            yield from _table(path, kind)
        else:
            yield from _json(path, kind, split)
    except (OSError, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: cannot be read ({reason}); is it whole?") from error


def _refuse_stand_in(path: Path, head: bytes) -> None:
    """Raise UserError where something else lies in the data's place."""
    if head.startswith(b"version https://git-lfs"):
        size = re.search(rb"size (\d+)", head)
        told = f" (its data, {int(size[1]):,} bytes, is not here)" if size else ""
        raise UserError(f"{path}: is a Git LFS pointer{told}; fetch it in its repository with `git lfs pull`")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<error")):
        title = re.search(rb"<title[^>]*>\s*(.*?)\s*<", head, re.I | re.S)
        told = f" ({title[1].decode(errors='replace')!r})" if title else ""
        raise UserError(f"{path}: is a web page{told}, not data; download the raw file")


def _open(path: Path) -> IO[bytes]:
    """`path` as UTF-8, unpacked where its first bytes say that it is packed, whatever its name says."""
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return io.BytesIO(path.read_bytes().decode("utf-16").encode())
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: is not UTF-16 (byte {error.start}); convert it") from error
    method = next((name for magic, name in _PACKED.items() if head.startswith(magic)), None)
    if method is None:
        return path.open("rb")
    import pyarrow as pa

    unpacked = io.BufferedReader(pa.CompressedInputStream(str(path), method))
    try:
        _refuse_stand_in(path, unpacked.peek(1024)[:1024])
    except UserError:
        unpacked.close()
        raise
    return unpacked


def _text_of(path: Path) -> str:
    """The whole text. Raises UserError where it is not UTF-8."""
    with _open(path) as file:
        raw = file.read()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 (byte {error.start}); convert it") from error


def _json(path: Path, kind: str, split: str | None) -> Iterator[Row]:
    """A file of one object a line, line by line; any other JSON as a document."""
    with _open(path) as file:
        first = next((line for line in file if line.strip()), b"")
    if kind != ".json" and (_is_row(first) or not first):
        yield from _lines(path)
        return
    try:
        document = json.loads(_text_of(path))
    except (ValueError, RecursionError, UserError) as error:
        # Rows of one object a line are often called .json, and a line may be broken.
        if kind != ".json" or _is_row(first):
            yield from _lines(path)
            return
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: is not JSON ({error}); one object a line belongs in a .jsonl file") from error
    for number, row in enumerate(rows_of_document(document, str(path), split), start=1):
        yield Row(str(path), number, row)


def _is_row(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False


def _lines(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            raw = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not raw.strip():
                continue
            try:
                text = raw.decode()
                columns = json.loads(text)
                if _SURROGATE.search(text):
                    json.dumps(columns, ensure_ascii=False).encode()
            except UnicodeDecodeError as error:
                bad = raw.decode(errors="replace").strip()
                yield Row(str(path), number, bad, f"not UTF-8 (byte {error.start})")
            except UnicodeEncodeError:
                yield Row(str(path), number, text.strip(), "holds half of a surrogate pair, which is no character")
            except (ValueError, RecursionError) as error:
                yield Row(str(path), number, raw.decode().strip(), f"not JSON ({error})")
            else:
                yield Row(str(path), number, columns)


def _table(path: Path, kind: str) -> Iterator[Row]:
    """Rows of CSV or TSV under their header; `line` is the line that a row begins on."""
    text = _text_of(path)
    header = text.split("\n", 1)[0]
    mark = "\t" if kind == ".tsv" else next((mark for mark in ",;\t" if mark in header), ",")
    csv.field_size_limit(_WIDEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    names: list[str] = []
    begins = 1
    try:
        for cells in reader:
            if not names:
                names = [name.strip() for name in cells]
                doubles = sorted({name for name in names if names.count(name) > 1})
                if doubles:
                    raise UserError(f"{path}: its header names {', '.join(doubles)} twice; rename one")
            elif len(cells) == len(names):
                yield Row(str(path), begins, dict(zip(names, cells, strict=True)))
            elif cells:
                problem = f"{len(cells)} cells where the header names {len(names)}"
                yield Row(str(path), begins, mark.join(cells), problem)
            begins = reader.line_num + 1
    except csv.Error as error:
        yield Row(str(path), begins, "", f"not {kind[1:].upper()} ({error})")


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield Row(str(path), number, row)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: is not a readable Parquet file ({reason}); write it again") from error
