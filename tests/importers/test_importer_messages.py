import json

import pytest

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.importers.messages import Messages
from apportion.pipeline.tasks import make_task
from apportion.pipeline.trajectory.context import context_of
from apportion.schemas import TABLES

read = Messages().read

USER = {"role": "user", "content": "2 + 2?"}
REPLY = {"role": "assistant", "content": "4"}


def save(tmp_path, *lines, name="chats.jsonl"):
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def columns(rows, *names):
    """The named columns of each row; `context` as the rows that it stands for."""
    return [tuple(context_of(row, rows) if name == "context" else row.get(name) for name in names) for row in rows]


def test_a_chat_becomes_a_task_and_its_messages(tmp_path):
    chat = [{"role": "system", "content": "Be brief."}, USER, REPLY]
    imported = read(save(tmp_path, {"messages": chat, "ground_truth": 4, "reward": 1}))
    names = ("kind", "agent", "role", "text", "source_index", "context", "is_outcome")
    assert columns(imported.messages, *names) == [
        ("task", "user", "user", "2 + 2?", 1, [], False),
        ("system", "assistant", "system", "Be brief.", 0, [], False),
        ("message", "assistant", "assistant", "4", 2, [0, 1], True),
    ]
    (trajectory,) = imported.trajectories
    assert (trajectory["outcome"], trajectory["success"], trajectory["answer"]) == (1.0, True, "4")
    assert trajectory["verifier"] == "imported"
    assert columns(imported.tasks, "question", "references") == [("2 + 2?", ["4"])]
    assert imported.tasks[0]["task_id"] == make_task("2 + 2?", ["4"], source="x", split="y").task_id


def test_a_bare_list_of_messages_and_content_in_parts(tmp_path):
    parts = [{"type": "text", "text": "Well."}, {"type": "text", "text": "FINAL ANSWER: 4"}]
    imported = read(save(tmp_path, [USER, {"role": "assistant", "content": parts}]))
    assert imported.messages[-1]["text"] == "Well.\nFINAL ANSWER: 4"
    (trajectory,) = imported.trajectories
    assert trajectory["answer"] == "4"
    assert not {"outcome", "success", "verifier"} & set(trajectory), "how the run ended is not known"


def test_system_prompts_reach_the_agent_named_or_every_assistant(tmp_path):
    chat = [
        {"role": "system", "content": "For all."},
        {"role": "system", "content": "For B.", "name": "B"},
        USER,
        {"role": "assistant", "name": "A", "content": "a"},
        {"role": "system", "content": "Hurry.", "name": "B"},
        {"role": "assistant", "name": "B", "content": "b"},
    ]
    rows = read(save(tmp_path, chat)).messages
    assert columns(rows, "kind", "agent", "text", "recipient", "context") == [
        ("task", "user", "2 + 2?", None, []),
        ("system", "A", "For all.", None, []),
        ("system", "B", "For all.\n\nFor B.", None, []),
        ("message", "A", "a", None, [0, 1]),
        ("message", "system", "Hurry.", "B", [0, 3]),
        ("message", "B", "b", None, [0, 2, 3, 4]),
    ]


def test_the_question_of_the_record_goes_before_another_first_user_message(tmp_path):
    same, other = (
        read(save(tmp_path, {"messages": [USER, REPLY], "question": question})).messages
        for question in ("2 + 2?", "What is the sum?")
    )
    assert columns(same, "kind", "source_index") == [("task", 0), ("message", 1)]
    assert columns(other, "kind", "text", "source_index") == [
        ("task", "What is the sum?", None),
        ("message", "2 + 2?", 0),
        ("message", "4", 1),
    ]


def test_a_greeting_before_the_question_did_not_see_it(tmp_path):
    rows = read(save(tmp_path, [{"role": "assistant", "content": "Hello"}, USER, REPLY])).messages
    assert columns(rows, "kind", "text", "context") == [
        ("message", "Hello", []),
        ("task", "2 + 2?", []),
        ("message", "4", [0, 1]),
    ]


def tool_chat(*calls, answers="c1"):
    return [
        USER,
        {"role": "assistant", "name": "A", "content": None, "tool_calls": list(calls)},
        {"role": "assistant", "name": "B", "content": "Waiting."},
        {"role": "tool", "tool_call_id": answers, "content": ""},
    ]


def call(identity, arguments='{"x": "2+2"}'):
    return {"id": identity, "type": "function", "function": {"name": "calc", "arguments": arguments}}


def test_a_tool_result_belongs_to_the_agent_that_called(tmp_path):
    imported = read(save(tmp_path, tool_chat(call("c1"))))
    _, called, _, result = imported.messages
    assert columns([result], "kind", "role", "agent", "recipient", "tool_name", "tool_input", "text") == [
        ("tool_result", "tool", "A", "A", "calc", '{"x": "2+2"}', "")
    ]
    assert (called["tool_name"], called["tool_input"]) == ("calc", '{"x": "2+2"}')
    assert called["text"] == '<tool_call>\n{"name": "calc", "arguments": {"x": "2+2"}}\n</tool_call>'
    assert "answer" not in imported.trajectories[0], "the log ends before an answer"


def test_several_calls_in_one_message_keep_their_own_inputs(tmp_path):
    chat = tool_chat(call("c0", {"y": 1}), call("c1", "not json"), answers="c0")
    rows = read(save(tmp_path, chat)).messages
    assert rows[1]["text"].count("<tool_call>") == 2
    assert '"arguments": "not json"' in rows[1]["text"]
    assert "tool_name" not in rows[1]
    assert rows[3]["tool_input"] == '{"y": 1}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{nope", "not JSON"),
        ("3", "neither an object nor a list"),
        ({"messages": []}, "no messages"),
        ({"text": "hi"}, "no messages"),
        ([USER], "no assistant message"),
        ([USER, {"role": "assistant"}], "message 1 has no content and no tool calls"),
        ([{"role": "user", "content": None}, REPLY], "message 0 has no content"),
        ([USER, {"role": "robot", "content": "x"}], "message 1: role 'robot'"),
        ([USER, {"role": ["user"], "content": "x"}], "message 1: role"),
        ([USER, "hi"], "message 1 is no object"),
        ([USER, {"role": "assistant", "content": 4}], "neither text nor a list"),
        ([USER, {"role": "assistant", "content": [3]}], "neither text nor an object"),
        ([USER, {"role": "assistant", "content": [{"type": "text", "body": "4"}]}], "no text; its keys: type, body"),
        ([USER, {"role": "assistant", "content": "x", "name": 1}], "`name` is no text"),
        ([REPLY], "no question"),
        ({"messages": [USER, REPLY], "question": 3}, "`question` is no text"),
        ({"messages": [USER, REPLY], "reward": 3}, "`reward` is no number in [0, 1]"),
        ({"messages": [USER, REPLY], "outcome": float("nan")}, "`outcome` is no number"),
        ({"messages": [USER, REPLY], "success": "maybe"}, "neither true nor false"),
        ({"messages": [USER, REPLY], "references": [{}]}, "`references` holds something"),
        (tool_chat(call("c1"), answers="c9"), "answers no tool call"),
        (tool_chat(call("c1"), call("c1")), "same id"),
        (tool_chat({"id": "c1"}), "lacks its function's name; its keys: id"),
        ([{"role": "user", "content": "\ud83d"}, REPLY], "surrogate"),
    ],
)  # fmt: skip
def test_a_bad_line_is_set_aside_and_the_rest_goes_on(tmp_path, line, reason):
    file = save(tmp_path, [USER, REPLY], "", line, {"messages": [USER, REPLY]})
    imported = read(file)
    assert len(imported.trajectories) == 2
    (reject,) = imported.rejects
    assert reason in reject.reason
    assert (reject.source, reject.line) == (str(file), 3)


def test_every_row_fits_its_declared_table(tmp_path):
    imported = read(save(tmp_path, tool_chat(call("c1")), {"messages": [USER, REPLY], "success": False}))
    assert TABLES["tasks"].from_rows(imported.tasks).num_rows == 1
    assert TABLES["trajectories"].from_rows(imported.trajectories).num_rows == 2
    assert TABLES["messages"].from_rows(imported.messages).num_rows == 6


def test_ids_survive_a_move_and_tell_equal_chats_apart(tmp_path):
    chat = [USER, REPLY]
    lines = [{"id": "a", "messages": chat}, chat, chat, {"id": "a", "messages": chat}]
    here = read(save(tmp_path / "here", *lines))
    there = read(save(tmp_path / "there", *lines).parent)
    ids = [row["trajectory_id"] for row in here.trajectories]
    assert len(set(ids)) == 4
    assert [row["trajectory_id"] for row in there.trajectories] == ids
    moved = read(save(tmp_path / "moved", lines[0], name="other.jsonl"))
    assert [row["trajectory_id"] for row in moved.trajectories] == ids[:1], "an id names the record"
    assert [row["rollout_index"] for row in here.trajectories] == [0, 1, 2, 3]
    assert len(here.tasks) == 1


def test_nothing_usable_is_an_error_that_names_the_place(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        read(tmp_path / "missing.jsonl")
    with pytest.raises(UserError, match="it holds no record"):
        read(save(tmp_path, ""))
    with pytest.raises(UserError, match=r"1 set aside, the first: .*chats\.jsonl:1: not JSON"):
        read(save(tmp_path, "oops"))
