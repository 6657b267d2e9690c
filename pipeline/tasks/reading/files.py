"""Read tasks from JSON, CSV or Parquet files, a folder, a saved data set, or (when allowed) the Hugging Face Hub."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.tasks.reading.rows import KINDS, Row, kind_of, rows_of
from apportion.pipeline.trajectory.columns import (
    QUESTION_COLUMNS,
    REFERENCE_COLUMNS,
    BadRowError,
    answer_of,
    meta_of,
    plain,
    question_of,
)
from apportion.pipeline.trajectory.task import Reject, Task, make_task

_SHOWN = 500
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "package.json")
"""JSON files beside the data that hold no rows."""


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

    `path`: .jsonl, .ndjson, .json, .csv, .tsv (each also .gz, .zst, .bz2), .parquet, a folder of them or of
    datasets.save_to_disk, or with `hub` a Hub id "owner/name" or "owner/name:config". `split` picks a part of what has
    parts (rows with another value in a column `split` are passed over) and names the split of what has none. `question`
    and `answer` name the columns, whatever their case, with dots for what is nested; left alone, the usual names are
    tried, and aliases are added. Other columns go to `meta`. At most `limit` tasks. Raises UserError for a missing or
    unreadable file, an unknown split, and no usable row at all.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}; ask for at least 1 task, or leave it out")
    questions = QUESTION_COLUMNS if question == QUESTION_COLUMNS[0] else (question,)
    answers = REFERENCE_COLUMNS if answer == "answer" else (answer,)
    tasks: dict[str, Task] = {}
    places: dict[str, tuple[str, Row]] = {}
    rejects: list[Reject] = []
    for row in _rows(path, split, hub):
        try:
            task = _task(row, split, questions, answers)
            if task is None:
                continue
            _refuse_double(task, row, places)
        except BadRowError as error:
            rejects.append(Reject(row.source, row.line, str(error), _shown(row.columns)))
            continue
        tasks[task.task_id] = task
        if limit is not None and len(tasks) >= limit:
            break
    if not tasks:
        of_split = f" of split {split!r}" if split else ""
        raise UserError(f"{path}: no usable task{of_split} among {len(rejects)} rows{_first(rejects)}")
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
            found.append(question_of(_columns(row), names).text)
        except BadRowError as error:
            cure = "mend the row, or set tasks.question"
            raise UserError(f"{row.source}:{row.line}: {str(error).partition('; name ')[0]}; {cure}") from None
    if not found:
        raise UserError(f"{path}: it holds no row")
    return found


def _task(row: Row, split: str | None, questions: tuple[str, ...], answers: tuple[str, ...]) -> Task | None:
    """The task of a row; None if the row belongs to another split. Raises BadRowError."""
    columns = _columns(row)
    own_split = columns.get("split")
    if split is not None and isinstance(own_split, str) and own_split != split:
        return None
    asked = question_of(columns, questions)
    answered = answer_of(columns, answers)
    taken = {*answered.columns, *([asked.column] if asked.whole else [])}
    named = own_split if isinstance(own_split, str) and own_split else None
    meta = meta_of(columns, taken | ({"split"} if named else set()))
    return make_task(asked.text, answered.references, source=row.source, split=split or named or "all", meta=meta)


def _columns(row: Row) -> dict[str, Any]:
    if row.problem is not None:
        raise BadRowError(row.problem)
    if not isinstance(row.columns, dict):
        raise BadRowError(f"a row must be an object with named columns, not {type(row.columns).__name__}")
    return row.columns


def _refuse_double(task: Task, row: Row, places: dict[str, tuple[str, Row]]) -> None:
    """Set a question aside that was asked before: with one answer it is the same task, with two it has none."""
    text = " ".join(task.question.split())
    first = places.setdefault(text, (task.task_id, row))
    if first[1] is row:
        return
    where = f"line {first[1].line}" if first[1].source == row.source else f"{first[1].source}:{first[1].line}"
    if first[0] == task.task_id:
        raise BadRowError(f"duplicate of {where}")
    raise BadRowError(f"the question of {where} again, with other answers: {', '.join(task.references)}")


def _first(rejects: list[Reject]) -> str:
    if not rejects:
        return "; it holds no row"
    place = f"line {rejects[0].line}: " if rejects[0].line else ""
    return f"; {place}{rejects[0].reason}"


def _shown(columns: Any) -> str:
    text = columns if isinstance(columns, str) else json.dumps(plain(columns), ensure_ascii=False)
    return text[:_SHOWN]


def _rows(path: str, split: str | None, hub: bool) -> Iterator[Row]:
    place = Path(path)
    if place.is_dir():
        return _folder(place, split)
    if place.is_file():
        return rows_of(place, split)
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


def _folder(folder: Path, split: str | None) -> Iterator[Row]:
    """A saved data set, or all Parquet files, or without any all other files that hold rows."""
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        import datasets

        try:
            loaded = datasets.load_from_disk(str(folder))
        except (OSError, ValueError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{folder}: the saved data set cannot be read ({reason}); is it whole?") from error
        return _dataset(loaded, str(folder), split)
    found = sorted(file for file in folder.rglob("*") if _may_hold_rows(file, folder))
    parquet = [file for file in found if kind_of(file) == ".parquet"]
    files = parquet or found
    if not files:
        raise UserError(
            f"{folder}: holds no saved data set, no Parquet file and none of {', '.join(KINDS)}; name one file in it"
        )
    passed = [file for file in found if file not in files]
    if split is None:
        return _files(files, passed, None)
    # The Hub's naming: data/train-00000-of-00002.parquet, or train/0000.parquet.
    chosen = [file for file in files if split in (_begins(file), file.parent.name)]
    known = {_begins(file) for file in files}
    if not chosen and len(known) > 1:
        raise UserError(f"{folder}: has no split {split!r}; its files begin with {', '.join(sorted(known))}")
    return _files(chosen or files, passed, split)


def _may_hold_rows(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.is_file() and kind_of(file) in KINDS and not hidden and file.name not in _DESCRIPTIONS


def _begins(file: Path) -> str:
    return re.split(r"[-.]", file.name)[0]


def _files(files: Iterable[Path], passed: Iterable[Path], split: str | None) -> Iterator[Row]:
    """The rows of several files; one that cannot be read, or is passed over, is a row with its reason."""
    for file in files:
        try:
            yield from rows_of(file, split)
        except UserError as error:
            yield Row(str(file), 0, "", str(error).removeprefix(f"{file}: "))
    for file in passed:
        yield Row(str(file), 0, "", "passed over: the folder's Parquet files were read; name this file to read it")


def _hub(path: str, split: str | None) -> Iterator[Row]:
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


def _dataset(loaded: Any, source: str, split: str | None) -> Iterator[Row]:
    """The rows of a datasets.Dataset, or of the asked-for split of a DatasetDict."""
    import datasets

    if isinstance(loaded, datasets.DatasetDict):
        names = list(loaded)
        wanted = split if split is not None else (names[0] if len(names) == 1 else None)
        if wanted not in names:
            problem = "name a split" if split is None else f"has no split {split!r}"
            raise UserError(f"{source}: {problem}; it has {', '.join(names)}")
        loaded = loaded[wanted]
    return (Row(source, number, dict(row)) for number, row in enumerate(loaded, start=1))
