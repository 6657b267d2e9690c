"""Our own multi-hop questions over a fictional world, so that no model has read the answers.

Inns are owned by people, people live in towns, towns lie on rivers. No single document answers a question,
and the names share words (the Frozen Raven, the Frozen Kettle), so a careless search finds the wrong inn.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import file_digest
from apportion.pipeline.tasks._words import ADJECTIVES, FIRST_NAMES, LAST_NAMES, NOUNS, RIVERS, TOWN_NAMES
from apportion.pipeline.tasks.base import TaskSource
from apportion.pipeline.trajectory.task import Task, make_task

__all__ = ["SPLITS", "TOWN_NAMES", "Multihop", "World", "generate", "home_fact", "owner_fact", "river_fact", "write"]

MAX_TASKS = 5000
SPLITS = ("train", "test")
TOWNS = 96
SOURCE = "multihop"
_WRITTEN = ".world.json"


@dataclass(frozen=True)
class World:
    """Tasks, and the documents that answer them: sets `owners`, `homes` and `rivers`, one fact a document."""

    tasks: list[Task]
    documents: dict[str, list[str]]


class Multihop(TaskSource):
    """`n` questions whose answers take 2 hops (owner, home) or 3 (river); the same parameters give the same tasks.

    Status: ours. A world of its own, since public questions stand in what models were trained on. The documents that
    answer them are written by `write`; the tasks alone can be answered by nobody. Degenerate: beyond 5,000 tasks there
    are no more names.
    """

    name: ClassVar[str] = SOURCE

    n: int = Field(100, ge=1, le=MAX_TASKS)
    """Tasks."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of the world and of the questions asked about it."""
    split: Literal["train", "test"] = "train"
    """Splits of one seed share towns and rivers, and no inn or person."""
    river_share: float = Field(0.0, ge=0, le=1)
    """Share of the tasks that take 3 hops."""

    def tasks(self) -> list[Task]:
        """See `TaskSource.tasks`."""
        return generate(self.n, self.seed, self.split, river_share=self.river_share).tasks


def generate(n: int, seed: int, split: str = "train", *, river_share: float = 0.0) -> World:
    """`n` tasks (1 to 5,000) with their world; the same arguments give the same world.

    Kind `town` takes 2 hops, kind `river` 3; `river_share` in [0, 1] of the tasks are of kind `river`. Half
    as many inns again stand in the documents and are never asked about. Splits of one seed share towns and
    rivers, and no inn or person. `meta`: kind, hops, facts (the documents to find, in order), sets (where
    each lies).
    """
    if not 1 <= n <= MAX_TASKS:
        raise UserError(f"multihop: n is {n}; it must be from 1 to {MAX_TASKS}")
    if split not in SPLITS:
        raise UserError(f"multihop: no split {split!r}; there are {' and '.join(SPLITS)}")
    if not 0.0 <= river_share <= 1.0:
        raise UserError(f"multihop: river_share is {river_share}; it must be from 0 to 1")
    geography = random.Random(f"geography/{seed}")
    river_of = {town: geography.choice(RIVERS) for town in geography.sample(TOWN_NAMES, TOWNS)}
    towns = list(river_of)

    rng = random.Random(f"{split}/{seed}")
    count = n + math.ceil(n / 2)
    inns = _names(ADJECTIVES, NOUNS, count, f"inns/{seed}", split)
    people = _names(FIRST_NAMES, LAST_NAMES, count, f"people/{seed}", split)
    homes = [rng.choice(towns) for _ in people]
    kinds = ["river"] * round(n * river_share)
    kinds += ["town"] * (n - len(kinds))
    rng.shuffle(kinds)
    tasks = [
        _task(kind, inn, person, town, river_of[town], split)
        for kind, inn, person, town in zip(kinds, inns[:n], people[:n], homes[:n], strict=True)
    ]
    documents = {
        "owners": [owner_fact(inn, person) for inn, person in zip(inns, people, strict=True)],
        "homes": [home_fact(person, town) for person, town in zip(people, homes, strict=True)],
        "rivers": [river_fact(town, river) for town, river in river_of.items()],
    }
    for facts in documents.values():
        rng.shuffle(facts)
    return World(tasks, documents)


def owner_fact(inn: str, person: str) -> str:
    """The one document that says who owns `inn`."""
    return f"The {inn} is owned by {person}."


def home_fact(person: str, town: str) -> str:
    """The one document that says where `person` lives."""
    return f"{person} lives in {town}."


def river_fact(town: str, river: str) -> str:
    """The one document that says where `town` lies."""
    return f"The town of {town} lies on the river {river}."


def write(world: World, folder: str | Path) -> None:
    """Write `tasks.jsonl` (as `load_tasks` reads it) and a `<set>.jsonl` of {"text"} rows for each set.

    A file of such a name is replaced only as an earlier world left it (`.world.json` keeps their digests). Raises
    UserError for another one, with nothing written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = [
        {"question": task.question, "references": task.references, "split": task.split, "meta": task.meta}
        for task in world.tasks
    ]
    texts = {"tasks.jsonl": _jsonl(rows)}
    for name, documents in world.documents.items():
        texts[f"{name}.jsonl"] = _jsonl([{"text": text} for text in documents])
    note = folder / _WRITTEN
    known = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    for name, text in texts.items():
        path = folder / name
        if path.exists() and file_digest(path) not in (known.get(name), _content_digest(text)):
            raise UserError(f"{path}: is there and is no world of ours, or was changed since; move it away")
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    note.write_text(json.dumps({name: _content_digest(text) for name, text in texts.items()}) + "\n", encoding="utf-8")


def _content_digest(text: str) -> str:
    """As `file_digest` of a file that holds `text`."""
    return hashlib.blake2b(text.encode()).hexdigest()[:16]


def _jsonl(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _names(firsts: list[str], lasts: list[str], count: int, key: str, split: str) -> list[str]:
    """`count` different names "First Last", packed so closely that most share a word with several others.

    A split owns the pairs of one parity on a board that depends on `key` alone, so splits cannot meet. Inns
    and people need different keys: under one key every Solemn inn would belong to a Samuel.
    """
    order = random.Random(f"words/{key}")
    firsts, lasts = order.sample(firsts, len(firsts)), order.sample(lasts, len(lasts))
    side = min(len(firsts), math.ceil(math.sqrt(2.4 * count)) + 1)
    parity = SPLITS.index(split)
    board = [(row, column) for row in range(side) for column in range(side) if (row + column) % 2 == parity]
    chosen = random.Random(f"names/{split}/{key}").sample(board, count)
    return [f"{firsts[row]} {lasts[column]}" for row, column in chosen]


def _task(kind: str, inn: str, person: str, town: str, river: str, split: str) -> Task:
    facts = [owner_fact(inn, person), home_fact(person, town)]
    if kind == "town":
        question = f"In which town does the owner of the {inn} live?"
        references = [town]
    else:
        question = f"On which river lies the town where the owner of the {inn} lives?"
        references = [river, f"river {river}", f"{river} river"]
        facts.append(river_fact(town, river))
    sets = ["owners", "homes", "rivers"][: len(facts)]
    meta = {"kind": kind, "hops": len(facts), "facts": facts, "sets": sets}
    return make_task(question, references, source=SOURCE, split=split, meta=meta)
