"""Read tasks from JSONL, JSON, Parquet, a saved data set, or (when allowed) the Hugging Face Hub."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.tasks.task import Reject, Task, make_task

QUESTION_COLUMNS = ("question", "problem", "prompt", "query")
REFERENCE_COLUMNS = ("references", "answers", "answer", "ground_truth", "target")

_SHOWN = 500
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


class _BadRowError(ValueError):
    """A row that cannot become a task; the message is the reason in the rejects table."""


@dataclass(frozen=True)
class _Row:
    """One input row: where it stands, its columns, or the bad text and why it is bad."""

    source: str
    line: int
    columns: Any
    problem: str | None = None


def load_tasks(
    path: str,
    *,
    split: str | None = None,
    question: str = "question",
    answer: str = "answer",
    limit: int | None = None,
    hub: bool = False,
) -> tuple[list[Task], list[Reject]]:
    """The usable rows of `path` as tasks, in file order, and the rows set aside with file, line and reason.

    `path`: .jsonl, .ndjson, .json (a list), .parquet, a folder (Parquet files, or datasets.save_to_disk),
    or with `hub` a Hub id "owner/name" or "owner/name:config". `split` picks a part of what has parts (rows
    with another value in a column `split` are passed over) and names the split of what has none. `question`
    and `answer` name the columns; left alone, the usual names are tried. Other columns go to `meta`. At
    most `limit` tasks. Raises UserError for a missing or unreadable file, an unknown split, and no usable
    row at all.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}; ask for at least 1 task, or leave it out")
    questions = QUESTION_COLUMNS if question == QUESTION_COLUMNS[0] else (question,)
    answers = REFERENCE_COLUMNS if answer == "answer" else (answer,)
    tasks: dict[str, Task] = {}
    rejects: list[Reject] = []
    for row in _rows(path, split, hub):
        try:
            task = _task(row, split, questions, answers)
            if task is None:
                continue
            if task.task_id in tasks:
                raise _BadRowError("duplicate of an earlier task")
        except _BadRowError as error:
            rejects.append(Reject(row.source, row.line, str(error), _shown(row.columns)))
            continue
        tasks[task.task_id] = task
        if limit is not None and len(tasks) >= limit:
            break
    if not tasks:
        first = f"; line {rejects[0].line}: {rejects[0].reason}" if rejects else "; it holds no row"
        of_split = f" of split {split!r}" if split else ""
        raise UserError(f"{path}: no usable task{of_split} among {len(rejects)} rows{first}")
    return list(tasks.values()), rejects


def load_questions(path: str, question: str = "question") -> list[str]:
    """The questions of a file that must be kept apart; answers are not asked for.

    `question` names the column, beside the usual names. UserError at the first row without one: what cannot be read
    cannot be kept apart.
    """
    names = tuple(dict.fromkeys((question, *QUESTION_COLUMNS)))
    found = []
    for row in _rows(path, None, False):
        try:
            found.append(_question(_columns(row), names)[1])
        except _BadRowError as error:
            raise UserError(f"{row.source}:{row.line}: {error}; mend the row, or set tasks.question") from None
    if not found:
        raise UserError(f"{path}: it holds no row")
    return found


def _task(row: _Row, split: str | None, questions: tuple[str, ...], answers: tuple[str, ...]) -> Task | None:
    """The task of a row; None if the row belongs to another split. Raises _BadRowError."""
    columns = _columns(row)
    own_split = columns.get("split")
    if split is not None and isinstance(own_split, str) and own_split != split:
        return None
    asked, text = _question(columns, questions)
    answered = _column(columns, answers, "answer")
    references = _references(columns[answered])
    if not references:
        raise _BadRowError(f"no answer in {answered!r}")
    meta = dict(columns["meta"]) if isinstance(columns.get("meta"), dict) else {}
    taken = {asked, answered, "split", "meta", "task_id", "source"}
    meta |= {name: value for name, value in columns.items() if name not in taken and not isinstance(value, bytes)}
    named = own_split if isinstance(own_split, str) and own_split else None
    return make_task(text, references, source=row.source, split=split or named or "all", meta=meta)


def _columns(row: _Row) -> dict[str, Any]:
    if row.problem is not None:
        raise _BadRowError(row.problem)
    if not isinstance(row.columns, dict):
        raise _BadRowError(f"a row must be an object with named columns, not {type(row.columns).__name__}")
    return row.columns


def _question(columns: dict[str, Any], names: tuple[str, ...]) -> tuple[str, str]:
    """The column of the question, and the question."""
    asked = _column(columns, names, "question")
    text = columns[asked]
    if not isinstance(text, str):
        raise _BadRowError(f"question in {asked!r} is {type(text).__name__}, not text")
    if not text.strip():
        raise _BadRowError(f"empty question in {asked!r}")
    return asked, text.strip()


def _column(columns: dict[str, Any], names: tuple[str, ...], what: str) -> str:
    present = [name for name in names if name in columns]
    if not present:
        raise _BadRowError(f"no {what}: no column {' or '.join(names)}; the row has {', '.join(map(str, columns))}")
    # A column may be there and null in this row while another one holds the answer.
    return next((name for name in present if columns[name] not in (None, [], "")), present[0])


def _references(value: Any) -> list[str]:
    """Aliases as texts: of a scalar, a list, or a dict of SQuAD ("text") or TriviaQA ("value", "aliases")."""
    if isinstance(value, dict):
        aliases = value.get("aliases")
        others = aliases if isinstance(aliases, list) else []
        value = [value["value"], *others] if "value" in value else value.get("text")
    values = value if isinstance(value, list | tuple) else [value]
    return list(dict.fromkeys(text for item in values if (text := _reference(item))))


def _reference(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        return str(int(value)) if value.is_integer() else str(value)
    if not isinstance(value, str):
        return str(value) if isinstance(value, int) else ""
    # GSM8K writes the worked solution first and the reference after four hashes.
    if "####" in value:
        return _THOUSANDS.sub("", value.rsplit("####", 1)[1].strip())
    return value.strip()


def _shown(columns: Any) -> str:
    text = columns if isinstance(columns, str) else json.dumps(columns, ensure_ascii=False, default=str)
    return text[:_SHOWN]


def _rows(path: str, split: str | None, hub: bool) -> Iterator[_Row]:
    place = Path(path)
    if place.is_dir():
        return _folder(place, split)
    if place.is_file():
        match place.suffix.lower():
            case ".jsonl" | ".ndjson":
                return _jsonl(place)
            case ".json":
                return _json_list(place)
            case ".parquet":
                return _parquet([place])
            case suffix:
                raise UserError(f"{path}: cannot read {suffix!r} files; use .jsonl, .json, .parquet or a folder")
    if hub:
        return _hub(path, split)
    raise UserError(_missing(place))


def _missing(place: Path) -> str:
    message = f"{place}: no such file or folder"
    if place.parent.is_dir():
        names = sorted(other.name for other in place.parent.iterdir() if not other.name.startswith("."))
        if close := difflib.get_close_matches(place.name, names, n=3, cutoff=0.5):
            message += f"; near it: {', '.join(close)}"
    if _HUB_ID.fullmatch(str(place)):
        message += "; to load it from the Hugging Face Hub, give --set tasks.hub=true"
    return message


def _jsonl(path: Path) -> Iterator[_Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            raw = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not raw.strip():
                continue
            try:
                yield _Row(str(path), number, json.loads(raw.decode()))
            except UnicodeDecodeError as error:
                bad = raw.decode(errors="replace").strip()
                yield _Row(str(path), number, bad, f"not UTF-8 (byte {error.start})")
            except (ValueError, RecursionError) as error:
                yield _Row(str(path), number, raw.decode().strip(), f"not JSON ({error})")


def _json_list(path: Path) -> Iterator[_Row]:
    """The elements of a JSON list; `line` is the element's place in it, counted from 1."""
    try:
        rows = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON ({error}); one object a line belongs in a .jsonl file") from error
    if not isinstance(rows, list):
        raise UserError(f"{path}: holds {type(rows).__name__}, not a list of rows; one object a line is .jsonl")
    for number, row in enumerate(rows, start=1):
        yield _Row(str(path), number, row)


def _parquet(paths: Iterable[Path]) -> Iterator[_Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in paths:
        number = 0
        try:
            for batch in pq.ParquetFile(path).iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield _Row(str(path), number, row)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: is not a readable Parquet file ({reason}); write it again") from error


def _folder(folder: Path, split: str | None) -> Iterator[_Row]:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        import datasets

        return _dataset(datasets.load_from_disk(str(folder)), str(folder), split)
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise UserError(f"{folder}: holds no Parquet file and no saved data set; name one file in it")
    if split is None:
        return _parquet(files)
    # The Hub's naming: data/train-00000-of-00002.parquet, or train/0000.parquet.
    chosen = [file for file in files if split in (re.split(r"[-.]", file.name)[0], file.parent.name)]
    known = {re.split(r"[-.]", file.name)[0] for file in files}
    if not chosen and len(known) > 1:
        raise UserError(f"{folder}: has no split {split!r}; its files begin with {', '.join(sorted(known))}")
    return _parquet(chosen or files)


def _hub(path: str, split: str | None) -> Iterator[_Row]:
    import datasets

    if not _HUB_ID.fullmatch(path):
        raise UserError(f"{path}: no such file, and no Hub id either; a Hub id is 'owner/name' or 'owner/name:config'")
    name, _, config = path.partition(":")
    try:
        # trust_remote_code stays off: a data set with a loading script is refused by the library.
        loaded = datasets.load_dataset(name, config or None)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: the Hub did not give it ({str(error).splitlines()[0]})") from error
    return _dataset(loaded, path, split)


def _dataset(loaded: Any, source: str, split: str | None) -> Iterator[_Row]:
    """The rows of a datasets.Dataset, or of the asked-for split of a DatasetDict."""
    import datasets

    if isinstance(loaded, datasets.DatasetDict):
        names = list(loaded)
        wanted = split if split is not None else (names[0] if len(names) == 1 else None)
        if wanted not in names:
            problem = "name a split" if split is None else f"has no split {split!r}"
            raise UserError(f"{source}: {problem}; it has {', '.join(names)}")
        loaded = loaded[wanted]
    return (_Row(source, number, dict(row)) for number, row in enumerate(loaded, start=1))
