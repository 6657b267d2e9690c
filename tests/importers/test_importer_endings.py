"""The right answer, the answer given, outcome and success: what is read, told and set aside."""

import pytest
from chat_logs import CHAT, REPLY, USER, chat, save

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.importers.messages import Messages
from apportion.pipeline.importers.reading.answers import is_sign_off, stated_answer

read = Messages().read


def agent(text, name="archivist"):
    return {"role": "assistant", "name": name, "content": text}


SIGN_OFFS = [
    "TERMINATE", "TERMINATE.", "**TERMINATE**", "<TERMINATE>", "terminate", " Terminate!\n", "TASK_COMPLETE",
    "Task completed.", "TASK DONE", "<CAMEL_TASK_DONE>", "###STOP###", "END OF CONVERSATION", "DONE", "`TERMINATE`",
    "TERMINATED", '"TERMINATE"',
]  # fmt: skip


@pytest.mark.parametrize("text", SIGN_OFFS)
def test_a_sign_off_is_no_answer(tmp_path, text):
    imported = chat(tmp_path, USER, agent("FINAL ANSWER: 1871"), agent("", "checker"), agent(text, "planner"))
    assert imported.trajectories[0]["answer"] == "1871"
    assert [row["agent"] for row in imported.messages if row["is_outcome"]] == ["archivist"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("1871\nTERMINATE", "1871"),
        ("1871\n\n**TERMINATE**\n", "1871"),
        ("1871\nTask complete.", "1871"),
        ("The ledger says 1871. TERMINATE", "The ledger says 1871."),
        ("FINAL ANSWER: 1871 TERMINATE", "1871"),
        ("Final answer: **1871**\n\nTERMINATE.", "1871"),
        ("It will terminate", "It will terminate"),
        ("stop", "stop"),
        ("The end", "The end"),
        ("TERMINATE", None),
    ],
)
def test_the_answer_of_a_message_that_ends_with_a_sign_off(text, answer):
    assert stated_answer(text) == answer
    assert not is_sign_off(text) or answer is None


def test_a_user_that_takes_leave_says_no_last_word(tmp_path):
    imported = chat(tmp_path, USER, REPLY, {"role": "user", "content": "exit"})
    assert imported.trajectories[0]["answer"] == "1871"


def test_a_sign_off_that_is_the_right_answer_is_one(tmp_path):
    imported = chat(tmp_path, USER, agent("Which sign?"), agent("STOP"), ground_truth="stop")
    assert imported.trajectories[0]["answer"] == "STOP"


@pytest.mark.parametrize(
    "last", [{"role": "user", "content": "Thanks!"}, agent("<tool>") | {"tool_calls": [{"name": "find"}]}]
)
def test_a_log_that_ends_with_something_else_has_no_answer(tmp_path, last):
    imported = chat(tmp_path, USER, REPLY, last)
    assert "answer" not in imported.trajectories[0]
    assert not any(row["is_outcome"] for row in imported.messages)


@pytest.mark.parametrize(
    ("fields", "references"),
    [
        ({"answer": "1899", "target": "1871"}, ["1871"]),
        ({"answer": "1899", "ground_truth": 1871}, ["1871"]),
        ({"answer": "1899", "expected_answer": "1871"}, ["1871"]),
        ({"answer": {"text": "1899"}, "target": "1871"}, ["1871"]),
        ({"answer": "1871"}, ["1871"]),
        ({"answers": ["1871", "in 1871"], "answer": "1871"}, ["1871", "in 1871"]),
        ({"references": '["1871", "in 1871"]'}, ["1871", "in 1871"]),
        ({"references": ["1871"], "ground_truth": "1871"}, ["1871"]),
        ({"references": [], "target": "1871"}, ["1871"]),
        ({"expected": {"not": "an answer"}, "target": 4.0}, ["4"]),
        ({"ground_truth": {"target": ["1871"]}, "answer": "1899"}, ["1871"]),
        ({"reward_model": {"ground_truth": "1871", "style": "rule"}}, ["1871"]),
        ({"ground_truth": True}, ["yes", "true"]),
        ({"ground_truth": "False"}, ["False", "no"]),
        ({"ground_truth": {"answer": {"value": "1871", "aliases": ["in 1871"]}}}, ["1871", "in 1871"]),
        ({"ground_truth": '{"target": ["1871"]}'}, ["1871"]),
        ({"ground_truth": "['1871', 'in 1871']"}, ["1871", "in 1871"]),
        ({"target": ["1871", ["in 1871"]]}, ["1871", "in 1871"]),
        ({"target": "1800 + 71 = 1871 #### 1871"}, ["1871"]),
        ({"ground_truth": "1871", "answer_aliases": ["in 1871"]}, ["1871", "in 1871"]),
        ({"answer": "1871", "aliases": '["in 1871"]'}, ["1871", "in 1871"]),
        ({"answer": "1899", "ideal": "1871"}, ["1871"]),
        ({"answer": "1899", "groundTruth": "1871"}, ["1871"]),
        ({"Answer": "1899", "Target": "1871"}, ["1871"]),
        ({"answer": "1899", "extra_info": {"answer": "1871"}}, ["1871"]),
        ({"answer": "1899", "metadata": {"target": "1871"}}, ["1871"]),
        ({"ground_truth": float("nan")}, []),
        ({}, []),
    ],
)
def test_the_reference_beside_the_answer_that_was_given(tmp_path, fields, references):
    imported = chat(tmp_path, USER, agent("1900"), **fields)
    assert imported.tasks[0]["references"] == references


@pytest.mark.parametrize(
    "fields",
    [
        {"ground_truth": "1871", "target": "1899"},
        {"answer": "1900", "success": False},
        {"answer": "1900", "reward": 0},
        {"answer": "1899", "label": "1871"},
        {"answer": "1899", "final_answer": "1871"},
    ],
)
def test_what_could_mean_either_is_set_aside_as_ambiguous(tmp_path, fields):
    lines = [{"messages": [USER, agent("1900.")], **fields}, {"messages": [USER, agent("1900")], "target": "1871"}]
    (reject,) = read(save(tmp_path, *lines)).rejects
    assert reject.reason.startswith("ambiguous: ")


def test_the_answer_of_the_record_stands_in_where_the_chat_gives_none(tmp_path):
    imported = chat(tmp_path, USER, REPLY, {"role": "user", "content": "Thanks!"}, answer="1899", target="1871")
    assert imported.trajectories[0]["answer"] == "1899"


@pytest.mark.parametrize(
    ("fields", "outcome", "success"),
    [
        *(({"success": value}, 1.0, True) for value in (True, 1, 1.0, "true", "True", "success", "1", "pass", "yes")),
        *(({"success": value}, 0.0, False) for value in (False, 0, 0.0, "false", "failure", "failed", "0.0", "no")),
        ({"is_correct": False}, 0.0, False),
        ({"resolved": "resolved"}, 1.0, True),
        ({"correct": "B"}, None, None),
        ({"Success": True}, 1.0, True),
        ({"is_solved": 0}, 0.0, False),
        ({"success": "F"}, 0.0, False),
        ({"outcome": "failure"}, 0.0, False),
        ({"outcome": "success", "passed": True}, 1.0, True),
        ({"success": float("nan")}, None, None),
        ({"reward": 0.4, "success": 1}, 0.4, True),
        ({"reward": float("nan"), "success": 1}, 1.0, True),
        ({"reward": 1, "outcome": 1.0}, 1.0, True),
        ({"reward": "0.5"}, 0.5, False),
        ({"reward": -1.0, "success": False}, 0.0, False),
        ({"reward": 12, "success": "success"}, 1.0, True),
        ({"scores": {"match": {"value": "I"}}}, 0.0, False),
        ({"scores": {"match": {"value": "C"}, "other": {"value": "I"}}}, None, None),
    ],
)
def test_how_a_run_ended(tmp_path, fields, outcome, success):
    trajectory = chat(tmp_path, USER, REPLY, **fields).trajectories[0]
    assert (trajectory.get("outcome"), trajectory.get("success")) == (outcome, success)


def test_a_reward_on_another_scale_is_kept_and_told(tmp_path):
    imported = chat(tmp_path, USER, REPLY, reward=-1, success=False)
    assert imported.trajectories[0]["labels"] == '{"reward": -1.0}'
    assert any(note.startswith("rewards outside [0, 1]") and note.endswith("1 conversation") for note in imported.notes)


@pytest.mark.parametrize(
    "fields",
    [
        {"reward": 0.0, "success": True}, {"reward": -1, "success": "true"}, {"outcome": 1, "success": 0},
        {"success": True, "is_correct": False}, {"outcome": 1, "reward": 0}, {"reward": "0", "passed": True},
    ],
)  # fmt: skip
def test_a_record_that_contradicts_itself_is_set_aside_and_counted(tmp_path, fields):
    imported = read(save(tmp_path, CHAT, {**CHAT, "success": None, **fields}, {**CHAT, "success": None, **fields}))
    assert [reject.line for reject in imported.rejects] == [2, 3]
    assert "set aside, since reward and success contradict each other: 2 conversations" in imported.notes


@pytest.mark.parametrize(
    "fields", [{"success": 0.5}, {"success": "perhaps"}, {"success": [True]}, {"reward": [1, 0]}, {"reward": 3}]
)
def test_an_ending_that_cannot_be_read_is_set_aside(tmp_path, fields):
    with pytest.raises(UserError, match="`success` is neither|`reward` is no number in"):
        chat(tmp_path, USER, REPLY, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"isSolved": True, "reward": 0},
        {"outcome": "failure", "success": True},
        {"Reward": 0.0, "SUCCESS": "yes"},
        {"is_resolved": False, "outcome": 1},
        {"task_success": 1, "success": False},
    ],
)
def test_reward_and_success_contradict_each_other_in_any_spelling(tmp_path, fields):
    (reject,) = read(save(tmp_path, {"messages": [USER, REPLY], **fields}, CHAT)).rejects
    assert "contradict each other" in reject.reason


def test_keys_in_another_spelling_are_read_and_two_of_one_meaning_are_set_aside(tmp_path):
    imported = read(save(tmp_path, {"Messages": [USER, REPLY], "Question": USER["content"], "ID": "m1"}))
    assert imported.notes == []
    assert imported.tasks[0]["question"] == USER["content"]
    (reject,) = read(save(tmp_path, {"messages": [USER, REPLY], "Target": "1871", "TARGET": "1899"}, CHAT)).rejects
    assert "'Target' and 'TARGET' both read as 'target'" in reject.reason


@pytest.mark.parametrize(
    "last",
    [
        "Thanks!", "Great work, team! TERMINATE", "I agree.", "APPROVE", "done", "exit", "The task is complete.", "OK",
        "TERMINATE TERMINATE", "==TERMINATE==", "\u2705 TERMINATE", "Well done!",
        "The answer was given above. TERMINATE",
    ],
)  # fmt: skip
def test_words_that_close_the_talk_after_a_marked_answer_are_no_answer(tmp_path, last):
    imported = chat(tmp_path, USER, agent("I looked.\nFINAL ANSWER: 1871"), agent(""), agent(last))
    assert imported.trajectories[0]["answer"] == "1871"
    assert [row["text"][-4:] for row in imported.messages if row["is_outcome"]] == ["1871"]


@pytest.mark.parametrize("last", ["No, it was 1899.", "1899", "FINAL ANSWER: 1899. TERMINATE", "Yes", "None of them"])
def test_words_that_may_be_an_answer_are_one_after_a_marked_answer_too(tmp_path, last):
    imported = chat(tmp_path, USER, agent("FINAL ANSWER: 1871"), agent(last))
    assert imported.trajectories[0]["answer"] != "1871"


def test_a_courtesy_is_the_answer_where_none_was_marked_before(tmp_path):
    assert chat(tmp_path, USER, agent("1871"), agent("Thanks!")).trajectories[0]["answer"] == "Thanks!"
