"""One document, JSON lines, Parquet, packed files and folders: read, or named when passed over."""

import bz2
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chat_logs import CHAT, REPLY, USER, said, save

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.importers.messages import Messages
from apportion.pipeline.importers.process_bench import ProcessBench
from apportion.pipeline.importers.who_and_when import WhoAndWhen

read = Messages().read

TWO = [CHAT, {**CHAT, "messages": [USER, {**REPLY, "content": "1899"}], "success": False}]


@pytest.mark.parametrize("indent", [None, 0, 1, "\t"])
@pytest.mark.parametrize(
    "document",
    [TWO, {"runs": TWO}, {"meta": {"n": 2}, "conversations": TWO}, [chat["messages"] for chat in TWO]],
)
def test_one_document_holds_many_conversations_however_it_is_indented(tmp_path, document, indent):
    file = tmp_path / "chats.json"
    file.write_text(json.dumps(document, indent=indent))
    imported = read(file)
    assert [row["answer"] for row in imported.trajectories] == ["1871", "1899"]
    assert imported.rejects == []


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("document", [CHAT, CHAT["messages"], {"request": {"id": 3}, "result": CHAT}])
def test_one_document_may_be_one_conversation(tmp_path, document, indent):
    file = tmp_path / "run.json"
    file.write_text(json.dumps(document, indent=indent))
    assert [row["answer"] for row in read(file).trajectories] == ["1871"]


def test_a_bad_record_of_a_document_is_named_by_its_place(tmp_path):
    file = tmp_path / "chats.json"
    file.write_text(json.dumps([CHAT, {"text": "hi"}, CHAT, {**CHAT, "id": "\ud800"}], indent=1))
    imported = read(file)
    assert len(imported.trajectories) == 2
    assert [(reject.line, reject.reason.split(";")[0][:12]) for reject in imported.rejects] == [
        (2, "no messages:"),
        (4, "the text hol"),
    ]


def packed_with(packing, raw):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, packing) as stream:
        stream.write(raw)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.jsonl.gz", gzip.compress),
        ("a.jsonl.zst", lambda raw: packed_with("zstd", raw)),
        ("a.json.bz2", bz2.compress),
        ("a.ndjson", bytes),
        ("no-ending", gzip.compress),
        ("a.jsonl", lambda raw: b"\xef\xbb\xbf\r\n" + raw.replace(b"\n", b"\r\n\r\n")),
    ],
)
def test_packed_files_other_endings_marks_and_blank_lines(tmp_path, name, pack):
    file = tmp_path / name
    file.write_bytes(pack("".join(json.dumps(chat) + "\n" for chat in TWO).encode()))
    assert [row["success"] for row in read(file).trajectories] == [True, False]
    assert len(read(tmp_path).trajectories) == 2 if name != "no-ending" else True


def test_a_packed_file_that_ends_too_early_gives_what_it_holds(tmp_path):
    file = tmp_path / "cut.jsonl.gz"
    file.write_bytes(gzip.compress((json.dumps(CHAT) + "\n").encode() * 2000)[:-30])
    imported = read(file)
    assert 0 < len(imported.trajectories) < 2000
    (reject,) = imported.rejects
    assert "cannot be read to its end" in reject.reason
    assert reject.line == len(imported.trajectories) + 1


def test_parquet_with_structs_and_with_columns_of_json_text(tmp_path):
    calling = {"role": "assistant", "content": "", "name": "archivist",
               "tool_calls": [{"id": "c1", "function": {"name": "find", "arguments": {"q": "mill"}}}]}  # fmt: skip
    result = {"role": "tool", "content": "1871", "tool_call_id": "c1"}
    rows = [{"id": 1, "messages": [USER, calling, result, REPLY], "success": True, "reward": 1.0}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "structs.parquet")
    texts = [{"messages": json.dumps([USER, REPLY]), "references": json.dumps(["1871", "in 1871"]), "success": 1.0}]
    pq.write_table(pa.Table.from_pylist(texts), tmp_path / "texts.parquet")
    imported = read(tmp_path)
    assert said(imported)[1:3] == [
        (
            "archivist",
            "assistant",
            "message",
            '<tool_call>\n{"name": "find", "arguments": {"q": "mill"}}\n</tool_call>',
        ),
        ("archivist", "tool", "tool_result", "1871"),
    ]
    assert [row["references"] for row in imported.tasks] == [[], ["1871", "in 1871"]]
    assert [row["success"] for row in imported.trajectories] == [True, True]


def test_a_folder_is_read_whole_and_what_is_passed_over_is_named(tmp_path):
    save(tmp_path, CHAT, name="more.jsonl")
    save(tmp_path / "deep", CHAT, name="run.JSON")
    save(tmp_path, "a,b", name="table.csv")
    save(tmp_path, "# notes", name="README.md")
    save(tmp_path, "{}", name=".hidden/x.json")
    save(tmp_path, {"lr": 1}, name="config.json")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    imported = read(tmp_path)
    assert len(imported.trajectories) == 2
    assert [reject.source.rsplit("/", 1)[1] for reject in imported.rejects] == ["broken.parquet", "config.json"]
    assert "its keys: lr" in imported.rejects[1].reason
    (note,) = [note for note in imported.notes if "passed over" in note]
    assert "README.md, table.csv" in note
    assert "hidden files passed over: 1" in note


def test_a_folder_without_logs_names_what_it_holds(tmp_path):
    save(tmp_path, "a,b", name="table.csv")
    with pytest.raises(UserError, match=r"no \.json file .*it holds table\.csv"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"PK\x03\x04rest", "zip archive"),
        ("[]".encode("utf-16"), "UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[\n" * 100_000, "nested too deeply"),
        (b'[\n {"messages": [\n', "not JSON"),
        (b"\x00" * 100, "not JSON"),
        (b'{"messages": [], "n": ' + b"9" * 5000 + b"}", "a whole number of too many digits"),
        (b"", "it holds no record"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path, raw, reason):
    file = tmp_path / "x.json"
    file.write_bytes(raw)
    with pytest.raises(UserError, match=reason) as refusal:
        read(file)
    assert "\n" not in str(refusal.value)


def test_a_value_that_nests_deeply_below_the_limit_of_json_is_no_traceback(tmp_path):
    deep = [f'{{"messages": [{json.dumps(USER)}, {{"role": "assistant", "content": {a * n}"x"{b * n}}}]}}'
            for n in (200, 450, 900) for a, b in (("[", "]"), ('{"content": ', "}"))]  # fmt: skip
    prompts = [f'{{"completion": "x", "prompt": {"[" * n}"q"{"]" * n}}}' for n in (200, 450, 900)]
    imported = read(save(tmp_path, CHAT, *deep, *prompts))
    assert len(imported.trajectories) + len(imported.rejects) == 10


def test_nul_characters_are_replaced_and_counted(tmp_path):
    imported = read(save(tmp_path, [{"role": "user", "content": "a\0b"}, {**REPLY, "content": "\0x\0"}]))
    assert [row["text"] for row in imported.messages] == [
        "a\N{REPLACEMENT CHARACTER}b",
        "\N{REPLACEMENT CHARACTER}x\N{REPLACEMENT CHARACTER}",
    ]
    assert any("NUL" in note and note.endswith(": 3 characters") for note in imported.notes)


def test_lines_that_are_messages_are_one_conversation_and_nothing_else_may_stand_beside_them(tmp_path):
    imported = read(save(tmp_path, USER, REPLY))
    assert [row["answer"] for row in imported.trajectories] == ["1871"]
    assert any("single messages" in note for note in imported.notes)
    mixed = read(save(tmp_path, USER, CHAT, REPLY))
    assert len(mixed.trajectories) == 1
    assert [(reject.line, "single message" in reject.reason) for reject in mixed.rejects] == [(1, True), (3, True)]


def test_the_other_formats_read_the_same_kinds_of_files(tmp_path):
    history = [{"content": "7", "name": "A", "role": "assistant"}]
    labels = {"mistake_agent": "A", "mistake_step": "0", "mistake_reason": "Wrong."}
    log = {"question": "How many?", "ground_truth": "8", "history": history, **labels}
    file = tmp_path / "logs.jsonl.gz"
    file.write_bytes(gzip.compress((json.dumps(log) + "\n" + json.dumps(log | {"question": "Why?"}) + "\n").encode()))
    assert len(WhoAndWhen().read(file).trajectories) == 2
    solution = {"id": "gsm8k-1", "problem": "1 + 1?", "steps": ["2"], "label": -1, "final_answer_correct": True}
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps([solution, {**solution, "id": "gsm8k-2"}], indent=1))
    assert len(ProcessBench().read(rows).trajectories) == 2


@pytest.mark.parametrize("between", ["", " ", "\n", "\n\x1e", "\r\n\r\n"])
@pytest.mark.parametrize("indent", [None, 1])
def test_documents_one_after_another_are_read_whatever_stands_between(tmp_path, between, indent):
    start = "\x1e" if "\x1e" in between else ""
    file = tmp_path / "chats.json"
    file.write_text(start + between.join(json.dumps(one, indent=indent) for one in TWO) + between)
    imported = read(file)
    assert [row["answer"] for row in imported.trajectories] == ["1871", "1899"]
    assert imported.rejects == []


def test_a_line_that_is_broken_behind_its_first_document_keeps_what_can_be_read(tmp_path):
    imported = read(save(tmp_path, json.dumps(CHAT) + '{"messages": ['))
    assert [row["answer"] for row in imported.trajectories] == ["1871"]
    assert [reject.reason[:8] for reject in imported.rejects] == ["not JSON"]


def test_requests_and_responses_in_columns_of_json_text_are_read_as_they_stand_in_json(tmp_path):
    asked = {"model": "m", "input": [{"role": "system", "content": "Be short."}, USER]}
    given = {"id": "r", "output": [{"type": "message", "role": "assistant", "content": "1871"}]}
    wrapped = {"status": "ok", "samples": [{"messages": [USER, REPLY]}]}
    for name, record in (("a", {"request": asked, "response": given}), ("b", wrapped)):
        plain = read(save(tmp_path, record, name=f"{name}.jsonl"))
        text = {key: json.dumps(one) if isinstance(one, dict | list) else one for key, one in record.items()}
        pq.write_table(pa.Table.from_pylist([text]), tmp_path / f"{name}.parquet")
        assert said(read(tmp_path / f"{name}.parquet")) == said(plain)
    as_written = {"prompt": "Write JSON.", "completion": '{"output": "1871", "why": "ledger"}'}
    assert said(read(save(tmp_path, as_written)))[1][3] == as_written["completion"]
