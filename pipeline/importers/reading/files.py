"""Files of logs as JSON values: one document, JSON lines or Parquet, packed or not, alone or in a folder.

What a file is shows in its first bytes and in whether its first line is JSON by itself; its name decides only which
files of a folder are looked at.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.importers.reading.text import BadRecordError, decode, json_problem, load_json, printable

READ = (".json", ".jsonl", ".ndjson", ".traj", ".parquet")
PACKED = (".gz", ".zst", ".bz2")
_PACKINGS = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bz2"))
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive (an .eval log of Inspect is one); unpack it, or dump it as JSON"),
    (b"\xfd7zXZ", "packed with xz; unpack it first"),
    (b"\xff\xfe", "UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
    (b"version https://git-lfs", "a pointer of Git LFS in place of the file; fetch it with git lfs pull"),
    (b"SQLite format 3", "a SQLite database; export its rows as JSON lines"),
)
_PARQUET = b"PAR1"
_SHOWN = 2000


@dataclass(frozen=True)
class Listing:
    """The files to read, each with its name below the folder, and what stands there beside them."""

    files: tuple[tuple[Path, str], ...]
    passed_over: tuple[str, ...] = ()
    hidden: int = 0


@dataclass(frozen=True)
class Entry:
    """One JSON value of a file, or the reason why there is none. `line`: its line, or its place in what has no lines.

    `raw` is how it begins. `alone`: nothing else is in the file.
    """

    file: Path
    name: str
    line: int
    raw: str
    value: Any = None
    problem: str | None = None
    alone: bool = False

    def items(self) -> Iterator[Entry]:
        """Each object of a document that is a list of objects, else the document itself."""
        value = self.value
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            yield self
            return
        for number, item in enumerate(value, start=1):
            yield Entry(self.file, self.name, number if self.alone else self.line, shown(item), item)


def listing(path: Path) -> Listing:
    """`path` itself, or the files below it by name, numbers in counting order.

    Raises UserError if the path does not exist or the folder holds no file that could be a log.
    """
    if path.is_file():
        return Listing(((path, path.name),))
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; give the path of the logs to import.")
    names = {file: file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    seen = {file: name for file, name in names.items() if not re.search(r"(^|/)\.", name)}
    files = sorted((file for file in seen if _readable(file.name)), key=lambda file: _natural(seen[file]))
    others = sorted((name for file, name in seen.items() if not _readable(file.name)), key=_natural)
    if not files:
        beside = f"; it holds {', '.join(others[:5])}" if others else ""
        raise UserError(
            f"{path}: no .json file in this folder, nor {', '.join(READ[1:])}{beside}; give the path of the logs."
        )
    return Listing(tuple((file, seen[file]) for file in files), tuple(others), len(names) - len(seen))


def entries(file: Path, name: str) -> Iterator[Entry]:
    """The JSON values of a file, in its order. What cannot be read is an entry with its `problem`."""
    line = 0
    try:
        with file.open("rb") as stream:
            head = stream.read(32)
        foreign = next((what for magic, what in _FOREIGN if head.startswith(magic)), None)
        if foreign is not None:
            yield Entry(file, name, 1, printable(head), problem=foreign)
            return
        for entry in _rows(file, name) if head.startswith(_PARQUET) else _values(file, name, head):
            line = entry.line
            yield entry
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        yield Entry(file, name, line + 1, "", problem=f"the file cannot be read to its end ({reason})")


def shown(value: Any) -> str:
    """How a value begins, for the table of rejects."""
    try:
        return printable(json.dumps(value, ensure_ascii=False, default=str)[:_SHOWN])
    except (RecursionError, ValueError):
        return type(value).__name__


def _readable(name: str) -> bool:
    bare = name.lower()
    for packing in PACKED:
        bare = bare.removesuffix(packing)
    return bare.endswith(READ)


def _rows(file: Path, name: str) -> Iterator[Entry]:
    """The rows of a Parquet file. Its columns are the same in every row, so a null stands for a missing key."""
    import pyarrow.parquet as pq

    number = 0
    try:
        with closing(pq.ParquetFile(file)) as table:
            for batch in table.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    value = _without_nulls(row)
                    yield Entry(file, name, number, shown(value), value)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        yield Entry(file, name, number + 1, "", problem=f"not readable as Parquet ({reason})")


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _values(file: Path, name: str, head: bytes) -> Iterator[Entry]:
    """Line by line where the first line is JSON and more follow; else the whole text at once.

    A record separator before each document (RFC 7464) counts as white space.
    """
    with closing(_opened(file, head)) as stream:
        lines = ((number, raw) for number, raw in enumerate(stream, start=1) if raw.strip(b" \t\r\n\x1e\xef\xbb\xbf"))
        first = next(lines, None)
        if first is None:
            return
        entry = _line(file, name, *first)
        second = next(lines, None)
        if second is None and entry.problem is not None:
            yield from _whole(file, name, [first])
        elif second is None:
            yield Entry(file, name, entry.line, entry.raw, entry.value, alone=True)
        elif entry.problem is None:
            yield entry
            yield _line(file, name, *second)
            for number, raw in lines:
                yield _line(file, name, number, raw)
        else:
            yield from _whole(file, name, [first, second, *lines])


def _opened(file: Path, head: bytes) -> io.BufferedReader:
    packing = next((packing for magic, packing in _PACKINGS if head.startswith(magic)), None)
    return file.open("rb") if packing is None else io.BufferedReader(pa.input_stream(str(file), compression=packing))


def _line(file: Path, name: str, number: int, raw: bytes) -> Entry:
    text = printable(raw[:_SHOWN].rstrip(b"\r\n"))
    try:
        return Entry(file, name, number, text, load_json(decode(raw.lstrip(b"\x1e"))))
    except BadRecordError as error:
        return Entry(file, name, number, text, problem=str(error))


def _whole(file: Path, name: str, lines: list[tuple[int, bytes]]) -> Iterator[Entry]:
    """One document over many lines, or several of them; or JSON lines of which the first is bad."""
    raw = b"".join(line for _, line in lines)
    values: list[Any] = []
    problem = None
    try:
        values.extend(_documents(decode(raw)))
    except BadRecordError as error:
        problem = str(error)
        if len(lines) > 1 and sum(line[:1] in (b"{", b"[") and len(line.strip()) > 1 for _, line in lines) * 2 > len(
            lines
        ):
            yield from (_line(file, name, number, line) for number, line in lines)
            return
    alone = len(values) == 1 and problem is None
    for number, value in enumerate(values, start=1):
        yield Entry(file, name, number, printable(raw[:_SHOWN]) if alone else shown(value), value, alone=alone)
    if problem is not None:
        yield Entry(file, name, len(values) + 1, printable(raw[:_SHOWN]), problem=problem)


def _documents(text: str) -> Iterator[Any]:
    """The JSON documents that stand one after another in `text`."""
    decoder, at = json.JSONDecoder(), 0
    while (at := _blank(text, at)) < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise BadRecordError(json_problem(error)) from error
        yield value


def _blank(text: str, at: int) -> int:
    match = re.compile(r"[ \t\r\n\x1e]*").match(text, at)
    return match.end() if match else at


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in parts]
