"""Task files of every usual kind are read, and what lies in a data file's place is told by name."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.tasks import load_tasks

ROWS = [{"question": "q?", "answer": "1"}, {"question": "ü?", "answer": "2"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234567\n"


def packed(text, method):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, method) as stream:
        stream.write(text.encode())
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES.encode()),
        ("a.ndjson", b"\xef\xbb\xbf" + LINES.encode()),
        ("a.jsonl", LINES.encode("utf-16")),
        ("a.json", LINES.encode()),
        ("a.jsonl", json.dumps(ROWS, indent=2).encode()),
        ("a.json", json.dumps({"version": 1, "data": ROWS}, indent=2).encode()),
        ("a.json", json.dumps({"train": ROWS, "dev": ROWS[:1]}).encode()),
        ("a.json", json.dumps({"question": ["q?", "ü?"], "answer": ["1", "2"]}).encode()),
        ("a.json", json.dumps({"question": {"0": "q?", "1": "ü?"}, "answer": {"0": "1", "1": "2"}}).encode()),
        ("a.json", json.dumps({"x1": ROWS[0], "x2": ROWS[1]}).encode()),
        ("a.json", json.dumps({"rows": [{"row_idx": i, "row": row} for i, row in enumerate(ROWS)]}).encode()),
        ("a.json", json.dumps({"data": [{"title": "t", "paragraphs": [{"context": "c", "qas": ROWS}]}]}).encode()),
        ("a.jsonl.gz", gzip.compress(LINES.encode())),
        ("a.jsonl.zst", packed(LINES, "zstd")),
        ("a.json.bz2", packed(json.dumps(ROWS), "bz2")),
        ("a.jsonl", gzip.compress(LINES.encode())),
        ("a.csv", "Question,answer\nq?,1\n\"ü?\",2\n".encode()),
        ("a.csv", "\ufeffquestion;answer\r\nq?;1\r\nü?;2\r\n".encode()),
        ("a.tsv", "question\tanswer\nq?\t1\nü?\t2\n".encode()),
        ("a.csv.gz", gzip.compress("question,answer\nq?,1\nü?,2\n".encode())),
    ],
)  # fmt: skip
def test_one_file_of_every_kind(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    tasks, rejects = load_tasks(str(path), split="train")
    assert [(task.question, task.references) for task in tasks] == [("q?", ("1",)), ("ü?", ("2",))]
    assert not rejects


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (POINTER, "is a Git LFS pointer (its data, 1,234,567 bytes, is not here); fetch it"),
        ("\n<!DOCTYPE html><html><title>Sign in</title></html>", "is a web page ('Sign in'), not data"),
        ("<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is a web page"),
    ],
)
def test_what_lies_in_the_datas_place_is_told_by_name(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        load_tasks(str(path))
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_in_a_folder_the_rest_goes_on(tmp_path):
    (tmp_path / "one.jsonl").write_text(LINES)
    (tmp_path / "two.csv").write_text(POINTER)
    (tmp_path / "README.md").write_text("# about")
    tasks, rejects = load_tasks(str(tmp_path))
    assert len(tasks) == 2
    assert [(reject.source, reject.line) for reject in rejects] == [(str(tmp_path / "two.csv"), 0)]
    assert rejects[0].reason.startswith("is a Git LFS pointer")
    pq.write_table(pa.Table.from_pylist([{"question": "p?", "answer": "3"}]), tmp_path / "three.parquet")
    tasks, rejects = load_tasks(str(tmp_path))
    assert [task.question for task in tasks] == ["p?"]
    assert [reject.reason.partition(":")[0] for reject in rejects] == ["passed over", "passed over"]


@pytest.mark.parametrize(
    ("name", "text", "reasons"),
    [
        ("a.csv", "question,answer\nq?,1\nr?,2,3\ns?,4\n", {3: "3 cells where the header names 2"}),
        ("a.csv", 'question,answer\n"q\n?",1\ns?\nt?,5\n', {4: "1 cells where the header names 2"}),
        ("a.csv", 'question,answer\nq?,1\nr?,2\n"s?,4\n', {4: "not CSV"}),
        ("a.jsonl", LINES + '{"question": "\\ud800", "answer": "x"}\n', {3: "half of a surrogate pair"}),
        ("a.jsonl", LINES + '{"question": "r?", "answer": ' + "1" * 5000 + "}\n", {3: "not JSON"}),
    ],
)
def test_a_bad_row_is_told_with_its_line(tmp_path, name, text, reasons):
    (tmp_path / name).write_text(text)
    tasks, rejects = load_tasks(str(tmp_path / name))
    assert len(tasks) == 2
    assert {reject.line: True for reject in rejects} == dict.fromkeys(reasons, True)
    for reject in rejects:
        assert reasons[reject.line] in reject.reason


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b'{"train": [{"a": 1}], "test": [{"a": 1}]}', "name one with tasks.split: train, test"),
        ("a.json", b'{"error": "not found"}', "holds an object with error"),
        ("a.jsonl.gz", gzip.compress(LINES.encode())[:20], "cannot be read"),
        ("a.csv", b"question,question\nq,r\n", "names question twice"),
        ("a.xlsx", b"PK", "cannot read '.xlsx' files; use .jsonl"),
    ],
)
def test_a_file_of_no_use_is_refused_with_the_cure(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="a\\.") as caught:
        load_tasks(str(tmp_path / name))
    assert said in str(caught.value)
