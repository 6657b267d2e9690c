import json

import pytest

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.registry import family
from apportion.pipeline.importers.process_bench import ProcessBench
from apportion.pipeline.tasks import make_task
from apportion.pipeline.trajectory.case import case_of
from apportion.pipeline.trajectory.log import Log
from apportion.schemas import TABLES

read = ProcessBench().read


def solution(**changes):
    return {
        "id": "gsm8k-12",
        "generator": "M",
        "problem": "2 + 2 + 1?",
        "steps": ["2 + 2 = 5.", "5 + 1 = 6.", "So 6."],
        "final_answer_correct": False,
        "label": 0,
    } | changes


def save(tmp_path, *lines, name="gsm8k.jsonl"):
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def case(tmp_path, **changes):
    imported = read(save(tmp_path, solution(**changes)))
    (task,) = imported.tasks
    asked = make_task(task["question"], task["references"], source="s", split="all")
    return case_of(Log(imported.trajectories[0], imported.messages, asked))


def test_a_solution_becomes_a_task_and_a_message_a_step(tmp_path):
    imported = read(save(tmp_path, solution()))
    assert [(row["kind"], row["agent"], row.get("source_index"), row["text"]) for row in imported.messages] == [
        ("task", "user", None, "2 + 2 + 1?"),
        ("message", "solver", 0, "2 + 2 = 5."),
        ("message", "solver", 1, "5 + 1 = 6."),
        ("message", "solver", 2, "So 6."),
    ]
    (trajectory,) = imported.trajectories
    assert json.loads(trajectory["labels"]) == {"first_wrong": 0, "subset": "gsm8k", "generator": "M"}
    assert (trajectory["outcome"], trajectory["success"], trajectory["answer"]) == (0.0, False, "So 6.")
    assert trajectory["team"] == "process-bench/gsm8k"
    for table in ("tasks", "trajectories", "messages"):
        rows = getattr(imported, table)
        assert TABLES[table].from_rows(rows).num_rows == len(rows)


def test_a_case_knows_the_first_wrong_step_or_that_there_is_none(tmp_path):
    wrong = case(tmp_path, label=1, final_answer_correct=True)
    assert (wrong.label.step, wrong.label.agent, wrong.sound, wrong.source) == (1, "solver", False, "gsm8k")
    sound = case(tmp_path, label=-1)
    assert (sound.label, sound.sound) == (None, True)


def test_two_solutions_of_one_problem_are_one_task_and_one_group(tmp_path):
    imported = read(save(tmp_path, solution(), solution(id="gsm8k-13", label=-1)))
    assert len(imported.tasks) == 1
    first, second = imported.trajectories
    assert first["group_id"] == second["group_id"]
    assert first["trajectory_id"] != second["trajectory_id"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{nope", "not JSON"),
        ([], "no JSON object"),
        (solution(id=3), "`id` is missing or no text"),
        (solution(problem=" "), "`problem` is missing or no text"),
        (solution(steps=[]), "`steps` is missing or empty"),
        (solution(steps=["a", 1]), "an item that is no text"),
        (solution(final_answer_correct=1), "neither true nor false"),
        (solution(label=None), "no whole number from -1"),
        (solution(label=True), "no whole number from -1"),
        (solution(label=-2), "no whole number from -1"),
        (solution(label=3), "`label` is 3, but there are 3 steps, counted from 0"),
    ],
)
def test_a_bad_line_is_set_aside_and_the_rest_goes_on(tmp_path, line, reason):
    file = save(tmp_path, solution(), "", line, solution(id="gsm8k-13"))
    imported = read(file)
    assert len(imported.trajectories) == 2
    (reject,) = imported.rejects
    assert reason in reject.reason
    assert (reject.source, reject.line) == (str(file), 3)


def test_the_format_is_known_by_name_and_an_empty_file_is_an_error(tmp_path):
    assert family("importers").make("process-bench") == ProcessBench()
    with pytest.raises(UserError, match="nothing to import as process-bench"):
        read(save(tmp_path, ""))


def test_steps_as_json_text_are_steps_and_keys_that_no_column_holds_are_counted(tmp_path):
    imported = read(save(tmp_path, solution(steps=json.dumps(["2 + 2 = 5.", "So 6."]), votes=3)))
    assert [row["text"] for row in imported.messages[1:]] == ["2 + 2 = 5.", "So 6."]
    assert imported.notes == ["keys that are not read: votes (1 solution)"]
