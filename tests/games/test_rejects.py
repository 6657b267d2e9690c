"""A trajectory that cannot be played is known by a code, and in shards of older versions by its place."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from apportion.pipeline.games.rejects import COLUMNS, Aside, Code, unplayable
from apportion.pipeline.runs.store import Store
from apportion.schemas import TABLES

ASIDE = [
    Aside("a", "no reference answer to score"),
    Aside("b", "a game of 70 messages cannot be played (at most 62)", Code.MESSAGES_UNPLAYABLE),
    Aside("c", "no reference answer to score"),
    Aside("c", "another reason", Code.MESSAGES_UNPLAYABLE),
]


def test_who_is_set_aside_whole_is_told_apart_from_whose_messages_are():
    table = TABLES["rejects"].from_rows([one.row("annotate s") for one in ASIDE])
    assert unplayable(table) == {"a", "c"}
    assert table["code"].to_pylist() == ["unplayable", "messages_unplayable", "unplayable", "messages_unplayable"]
    assert table["file"].to_pylist() == ["trajectory a", "messages of trajectory b", "trajectory c",
                                         "messages of trajectory c"]  # fmt: skip


def test_the_words_of_a_reason_or_place_do_not_matter_where_there_is_a_code():
    row = {"stage": "s", "file": "trajectory a", "line": 0, "reason": "unplayable", "code": "messages_unplayable"}
    assert unplayable(TABLES["rejects"].from_rows([row])) == set()


def test_a_shard_of_an_older_version_has_no_code_and_is_read_by_its_places(tmp_path: Path):
    store = Store(tmp_path)
    table = TABLES["rejects"].from_rows([one.row("annotate s") for one in ASIDE])
    path = store.write_shard("rejects", "r", "sampled-00000-s", table, "f")
    before: pa.Table = pq.read_table(path, partitioning=None).drop_columns("code")
    pq.write_table(before, path, write_page_checksum=True)
    assert "code" not in pq.read_schema(path).names
    read = store.read("rejects", "r", "sampled-00000-s", columns=COLUMNS)
    assert read["code"].null_count == len(ASIDE)
    assert unplayable(read) == {"a", "c"}
