import json
import os
from pathlib import Path

import polars as pl
import pytest

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.registry import family
from apportion.pipeline.importers.base import Imported
from apportion.pipeline.importers.who_and_when import WhoAndWhen
from apportion.pipeline.trajectory.context import context_of
from apportion.schemas import TABLES

read = WhoAndWhen().read


def named_log(**changes):
    return {
        "is_correct": False,
        "question": "How many?",
        "question_ID": "q1",
        "level": "2",
        "ground_truth": "8",
        "history": [
            {"content": "A task. FINAL ANSWER: soon", "role": "assistant", "name": "Excel_Expert"},
            {"content": "Code output: 4", "role": "user", "name": "Computer_terminal"},
            {"content": "It is 4.\n\nFinal answer: **4**", "role": "user", "name": "Checker"},
            {"content": "TERMINATE", "role": "user", "name": "Checker"},
        ],
        "mistake_agent": "Excel_Expert",
        "mistake_step": "1",
        "mistake_reason": "Missed rows.",
        "system_prompt": {"Excel_Expert": "You read sheets.", "Silent": "You wait."},
    } | changes


def role_log(**changes):
    return {
        "question": "How many?",
        "ground_truth": "8",
        "is_corrected": False,
        "history": [
            {"content": "How many?\n", "role": "human"},
            {"content": "Plan.", "role": "Orchestrator (thought)"},
            {"content": "Search it.", "role": "Orchestrator (-> WebSurfer)"},
            {"content": "A page.\nFINAL ANSWER: 7\nRUN.SH COMPLETE !#!#", "role": "WebSurfer"},
        ],
        "mistake_agent": "WebSurfer",
        "mistake_step": "3",
        "mistake_reason": "Wrong page.",
        "question_ID": "q1",
        "level": 2,
    } | changes


def save(folder: Path, **records) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, record in records.items():
        text = record if isinstance(record, str) else json.dumps(record)
        (folder / f"{name}.json").write_text(text)
    return folder


def rows_of(imported: Imported, trajectory: dict) -> list[dict]:
    return [row for row in imported.messages if row["trajectory_id"] == trajectory["trajectory_id"]]


def test_speaker_is_read_from_name_where_the_log_has_names(tmp_path):
    imported = read(save(tmp_path / "misnamed", log=named_log()))
    (trajectory,) = imported.trajectories
    rows = rows_of(imported, trajectory)
    assert [(row["kind"], row["agent"], row["role"]) for row in rows] == [
        ("task", "user", "user"),
        ("system", "Excel_Expert", "system"),
        ("system", "Silent", "system"),
        ("message", "Excel_Expert", "assistant"),
        ("message", "Computer_terminal", "assistant"),
        ("message", "Checker", "assistant"),
        ("message", "Checker", "assistant"),
    ]
    assert [row["message_index"] for row in rows] == list(range(7))
    assert [row.get("source_index") for row in rows] == [None, None, None, 0, 1, 2, 3]
    assert context_of(rows[3], rows) == [0, 1], "its own system prompt, not that of another agent"
    assert context_of(rows[5], rows) == [0, 3, 4]
    assert (rows[0]["text"], rows[1]["text"]) == ("How many?", "You read sheets.")
    assert trajectory["team"] == "who-and-when/algorithm_generated"


def test_speaker_and_recipient_are_read_from_role_where_no_name_is(tmp_path):
    imported = read(save(tmp_path / "x", log=role_log()))
    (trajectory,) = imported.trajectories
    rows = rows_of(imported, trajectory)
    assert [(row["agent"], row["role"], row.get("recipient")) for row in rows] == [
        ("user", "user", None),
        ("user", "user", None),
        ("Orchestrator", "assistant", None),
        ("Orchestrator", "assistant", "WebSurfer"),
        ("WebSurfer", "assistant", None),
    ]
    assert [row["kind"] for row in rows] == ["task"] + ["message"] * 4
    assert trajectory["team"] == "who-and-when/hand_crafted"


def test_a_log_is_a_failure_with_its_labels(tmp_path):
    imported = read(save(tmp_path, log=named_log()))
    (trajectory,) = imported.trajectories
    assert (trajectory["outcome"], trajectory["success"], trajectory["origin"]) == (0.0, False, "imported")
    assert json.loads(trajectory["labels"]) == {
        "mistake_agent": "Excel_Expert",
        "mistake_step": 1,
        "mistake_reason": "Missed rows.",
        "question_ID": "q1",
        "level": "2",
        "half": "algorithm_generated",
    }
    (task,) = imported.tasks
    assert (task["question"], list(task["references"])) == ("How many?", ["8"])
    assert task["task_id"] == trajectory["task_id"]
    assert not any(row["trainable"] for row in imported.messages)


@pytest.mark.parametrize(
    ("record", "answer", "outcome_at"),
    [
        (named_log(), "4", 2),
        (role_log(), "7", 3),
        (named_log(history=[{"content": "The final answer: 3", "name": "A"}] * 2), None, None),
    ],
)
def test_answer_is_what_the_last_speaking_message_marks_as_final(tmp_path, record, answer, outcome_at):
    imported = read(save(tmp_path, log=record))
    assert imported.trajectories[0].get("answer") == answer
    marked = [row["source_index"] for row in imported.messages if row["is_outcome"]]
    assert marked == ([] if outcome_at is None else [outcome_at])


def test_ids_do_not_depend_on_place_or_company(tmp_path):
    save(tmp_path / "both" / "algorithm_generated", **{"1": named_log(), "2": named_log()})
    save(tmp_path / "both" / "hand_crafted", **{"1": role_log()})
    whole = read(tmp_path / "both")
    half = read(save(tmp_path / "elsewhere", **{"2": named_log(), "1": named_log()}))
    single = read(tmp_path / "both" / "hand_crafted" / "1.json")
    ids = [row["trajectory_id"] for row in whole.trajectories]
    assert len(set(ids)) == 3
    assert [row["trajectory_id"] for row in half.trajectories] == ids[:2]
    assert [row["trajectory_id"] for row in single.trajectories] == ids[2:]
    assert len(whole.tasks) == 1, "one question with one reference is one task in both halves"
    assert len({row["group_id"] for row in whole.trajectories}) == 2, "a group never mixes teams"
    assert [row["rollout_index"] for row in whole.trajectories] == [0, 1, 0]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("{not json", "not JSON"),
        ("[]", "no JSON object"),
        ("[" * 100_000, "nested too deeply"),
        (named_log(history=[]), "`history` is missing or empty"),
        (named_log(history=["hello"]), "no object"),
        (named_log(question=" "), "`question` is missing"),
        (named_log(ground_truth=None), "`ground_truth` is missing"),
        (named_log(is_correct=True), "failed runs only"),
        (named_log(mistake_step="4"), "`history` has 4 items"),
        (named_log(mistake_step="-1"), "no whole number"),
        (named_log(mistake_step="9" * 5000), "no whole number"),
        (named_log(mistake_agent=None), "`mistake_agent` is missing"),
        (named_log(history=[{"content": None, "name": "A"}] * 4), "history item 0: `content`"),
        (named_log(history=[{"content": "x", "name": "A"}, {"content": "y"}]), "item 1: `name`"),
        (named_log(system_prompt={"A": 3}), "`system_prompt`"),
        (named_log(question="\ud800"), "surrogate"),
    ],
)  # fmt: skip
def test_a_bad_log_is_set_aside_and_the_rest_goes_on(tmp_path, record, reason):
    imported = read(save(tmp_path, bad=record, good=role_log()))
    assert len(imported.trajectories) == 1
    (reject,) = imported.rejects
    assert reason in reject.reason
    assert reject.source.endswith("bad.json")
    assert reject.line == 1
    assert 0 < len(reject.text) <= 500
    reject.text.encode()


def test_a_file_that_is_not_utf8_is_set_aside(tmp_path):
    save(tmp_path, good=role_log())
    (tmp_path / "bad.json").write_bytes(b'{"question": "\xff"}')
    (reject,) = read(tmp_path).rejects
    assert "not UTF-8" in reject.reason


def test_nothing_usable_is_an_error_that_names_the_place(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        read(tmp_path / "missing")
    with pytest.raises(UserError, match=r"no \.json file"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"1 set aside, the first: .*bad\.json:1: not JSON"):
        read(save(tmp_path, bad="{"))


@pytest.mark.parametrize(
    ("blamed", "said"),
    [("ghost", "there speak Excel_Expert, Computer_terminal, Checker"), ("checker", "only 'Checker' does")],
)
def test_a_label_that_names_who_never_speaks_is_told(tmp_path, blamed, said):
    imported = read(save(tmp_path, log=named_log(mistake_agent=blamed), good=role_log()))
    assert len(imported.trajectories) == 2
    (note,) = imported.notes
    assert note.startswith("mistake_agent speaks nowhere in its log")
    assert f"log.json names '{blamed}', {said} (1 log)" in note
    assert read(save(tmp_path, log=named_log())).notes == []


@pytest.mark.parametrize("sign_off", ["TERMINATE.", "**TERMINATE**", "<TERMINATE>", "Task complete"])
def test_a_sign_off_in_other_spellings_is_no_last_word(tmp_path, sign_off):
    history = [*named_log()["history"][:3], {"content": sign_off, "role": "user", "name": "Checker"}]
    (trajectory,) = read(save(tmp_path, log=named_log(history=history))).trajectories
    assert trajectory["answer"] == "4"


def test_importers_are_found_by_name():
    assert set(family("importers").names()) == {"who-and-when", "messages", "process-bench"}
    assert family("importers").make("who-and-when") == WhoAndWhen()
    with pytest.raises(UserError, match="did you mean 'who-and-when'"):
        family("importers").make("who_and_wen")
    with pytest.raises(UserError, match="messages, process-bench, who-and-when"):
        family("importers").make("xml")


def test_every_row_fits_its_declared_table(tmp_path):
    imported = read(save(tmp_path, named=named_log(), by_role=role_log()))
    assert TABLES["tasks"].from_rows(imported.tasks).num_rows == 1
    assert TABLES["trajectories"].from_rows(imported.trajectories).num_rows == 2
    assert TABLES["messages"].from_rows(imported.messages).num_rows == 12


def published() -> Path:
    """The folder of real logs; the test is skipped where it is absent."""
    root = Path(os.environ.get("APPORTION_DATA") or Path(__file__).parents[3] / "shared" / "data")
    folder = root / "who_and_when"
    if not folder.is_dir():
        pytest.skip(f"no real logs under {root}")
    return folder


def test_the_published_logs_are_read_whole():
    imported = read(published())
    by_half = {"algorithm_generated": 0, "hand_crafted": 0}
    rows = {(row["trajectory_id"], row.get("source_index")): row for row in imported.messages}
    elsewhere = 0
    for trajectory in imported.trajectories:
        labels = json.loads(trajectory["labels"])
        by_half[labels["half"]] += 1
        speaker = rows[trajectory["trajectory_id"], labels["mistake_step"]]["agent"]
        elsewhere += speaker != labels["mistake_agent"]
    assert imported.rejects == []
    assert by_half == {"algorithm_generated": 66, "hand_crafted": 31}
    assert elsewhere == 3, "labels that name another agent than the speaker of the labelled step"
    assert len({row["trajectory_id"] for row in imported.trajectories}) == 97
    answered = [row for row in imported.trajectories if "answer" in row]
    assert len(answered) == 32, "every hand-crafted log states its answer, and one of the others"


def test_a_published_message_is_found_at_its_place_in_the_log():
    file = published() / "hand_crafted" / "1.json"
    history = json.loads(file.read_text())["history"]
    texts = {row["source_index"]: row["text"] for row in read(file).messages if "source_index" in row}
    assert texts == {index: item["content"] for index, item in enumerate(history)}


def test_columns_of_json_text_are_read_as_what_they_write(tmp_path):
    logs = [named_log(system_prompt={"Checker": "Check."}), role_log()]
    rows = [{key: json.dumps(one) if isinstance(one, dict | list) else one for key, one in log.items()} for log in logs]
    table = pl.DataFrame(
        [{key: row.get(key) for key in {**rows[0], **rows[1]}} for row in rows], infer_schema_length=None
    )
    table.write_parquet(tmp_path / "logs.parquet")
    imported, plain = read(tmp_path / "logs.parquet"), read(save(tmp_path / "json", one=logs[0], two=logs[1]))
    assert imported.rejects == []
    assert [(m["agent"], m["text"]) for m in imported.messages] == [(m["agent"], m["text"]) for m in plain.messages]


def test_keys_that_no_column_holds_are_counted(tmp_path):
    noted = read(save(tmp_path, one=named_log(cost=3, tags=[]), two=role_log(cost=4))).notes
    assert noted == ["keys that are not read: cost (2 logs)"]
