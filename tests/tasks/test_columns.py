"""What foreign data sets call a question and its answers, and that nothing else of a row is lost."""

import datetime
import decimal
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.tasks import load_tasks
from apportion.pipeline.tasks.reading.files import load_questions
from apportion.pipeline.trajectory.task import task_row


def one(tmp_path, row, **options):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (task,), rejects = load_tasks(str(path), **options)
    assert not rejects
    return task


def refused(tmp_path, row, **options):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError) as caught:
        load_tasks(str(path), **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("columns", "references"),
    [
        # MuSiQue, and others that add aliases to the answer
        ({"answer": "Ashby", "answer_aliases": ["Ash By", "Ashby"]}, ("Ashby", "Ash By")),
        ({"answer": "Ashby", "aliases": '["Ash By"]'}, ("Ashby", "Ash By")),
        ({"answer": "Ashby", "accepted_answers": ["Ash By"]}, ("Ashby", "Ash By")),
        ({"answer": "Ashby", "answer_aliases": []}, ("Ashby",)),
        # TriviaQA, in both spellings; a normalized alias that says nothing new is left out
        (
            {"answer": {"value": "The Elm", "aliases": ["Elm"], "normalized_aliases": ["elm", "river elm"]}},
            ("The Elm", "Elm", "river elm"),
        ),
        ({"Answer": {"Value": "Elm", "Aliases": ["Elm River"], "NormalizedAliases": ["elm"]}}, ("Elm", "Elm River")),
        # PopQA, FlashRAG, Natural Questions
        ({"possible_answers": '["politician", "political leader"]'}, ("politician", "political leader")),
        ({"golden_answers": ["a b", "c"]}, ("a b", "c")),
        ({"answers": [{"text": "x"}, {"text": "y"}]}, ("x", "y")),
        ({"answers": [["x", "y"], ["z"]]}, ("x", "y", "z")),
        # verl, Search-R1, GSM8K in verl
        ({"reward_model": {"style": "rule", "ground_truth": "18"}, "extra_info": {"answer": "#### 18"}}, ("18",)),
        ({"reward_model": {"ground_truth": {"target": ["Ashby", "Ash By"]}}}, ("Ashby", "Ash By")),
        ({"reward_model": '{"style": "rule", "ground_truth": "18"}'}, ("18",)),
        ({"ground_truth": {"target": ["1871"]}}, ("1871",)),
        # as NumPy and Python print them into CSV
        ({"answers": "['Ashby' 'Ash By']"}, ("Ashby", "Ash By")),
        ({"answers": "['Ashby'\n \"O'Brien\"]"}, ("Ashby", "O'Brien")),
        ({"answers": "['a, b', 'c']"}, ("a, b", "c")),
        ({"answerKey": "A"}, ("A",)),
        # worked solutions: GSM8K, MATH, tagged ones
        ({"solution": r"So $x = \frac{1}{2}$, thus $\boxed{\frac{1}{2}}$."}, (r"\frac{1}{2}",)),
        ({"solution": "worked out", "answer": "5"}, ("5",)),
        ({"solution": "<think>3</think><answer> 5 </answer>"}, ("5",)),
        # GAIA's and AIME's case and spaces
        ({"Final answer": "egalitarian", "Level": 1}, ("egalitarian",)),
        ({"goldAnswer": "x"}, ("x",)),
        # lists as text, of JSON or of Python; a list of numbers may be the answer itself
        ({"answer": '["a", "b"]'}, ("a", "b")),
        ({"answers": "['a', 'b']"}, ("a", "b")),
        ({"answers": "[1, 2]"}, ("1", "2")),
        ({"answer": "[0, 1]"}, ("[0, 1]",)),
        ({"answer": "[sic]"}, ("[sic]",)),
        ({"answer": "{1, 2}"}, ("{1, 2}",)),
        # booleans
        ({"answer": False}, ("no", "false")),
        ({"answer": "True"}, ("True", "yes")),
        # what is chosen from is no alias
        ({"answer": "B", "possible_answers": ["Ashby", "Elm"]}, ("B",)),
        ({"target": [3, 4.0]}, ("3", "4")),
    ],
)
def test_the_fields_names_for_the_answer(tmp_path, columns, references):
    assert one(tmp_path, {"question": "q?", **columns}).references == references


@pytest.mark.parametrize(
    ("columns", "question"),
    [
        ({"prompt": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "q?"}]}, "q?"),
        ({"prompt": '[{"role": "user", "content": "q?"}]'}, "q?"),
        ({"messages": [{"role": "user", "content": "p?"}, {"role": "assistant", "content": "no"},
                       {"role": "user", "content": [{"type": "text", "text": "q?"}]}]}, "q?"),
        ({"conversations": [{"from": "human", "value": "q?"}, {"from": "gpt", "value": "x"}]}, "q?"),
        ({"prompt": [{"type": "human", "content": "q?"}]}, "q?"),
        ({"messages": [{"type": "ai", "data": {"content": "s"}}, {"type": "human", "data": {"content": "q?"}}]}, "q?"),
        ({"messages": [{"type": "HumanMessage", "content": "q?"}, {"type": "AIMessage", "content": "x"}]}, "q?"),
        ({"prompt": "[{'role': 'user', 'content': \"what's q?\"}]"}, "what's q?"),
        ({"prompt": [[{"role": "user", "content": "q?"}]]}, "q?"),
        ({"prompt": [{"role": "user", "content": [{"type": "text", "value": "q?"}]}]}, "q?"),
        ({"prompt": [{"role": "user", "content": [{"type": "text", "text": {"value": "q?"}}]}]}, "q?"),
        ({"prompt": ["q?"]}, "q?"),
        ({"Question": "q?"}, "q?"),
        ({"input": "q?"}, "q?"),
        ({"question": "", "problem": "q?"}, "q?"),
        ({"question": '{"a": 1} is what?'}, '{"a": 1} is what?'),
        ({"question": "{'a': 1}['a'] is what?"}, "{'a': 1}['a'] is what?"),
        ({"question": "[{1, 2}] has how many?"}, "[{1, 2}] has how many?"),
    ],
)  # fmt: skip
def test_the_fields_names_for_the_question_and_chats(tmp_path, columns, question):
    task = one(tmp_path, {**columns, "answer": "x"})
    assert task.question == question
    # What the chat says besides stays.
    if isinstance(columns.get("prompt"), list) and len(columns["prompt"]) > 1:
        assert task.meta["prompt"] == columns["prompt"]


def test_training_and_sampling_find_the_same_question(tmp_path):
    rows = [{"prompt": [{"role": "user", "content": "q?"}], "answer": "x"}, {"Problem": "r?", "answer": "y"}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load_questions(str(path)) == [task.question for task in load_tasks(str(path))[0]] == ["q?", "r?"]


@pytest.mark.parametrize(
    ("row", "options", "said"),
    [
        ({"prompt": [1, 2], "answer": "x"}, {}, "tasks.question=COLUMN"),
        ({"prompt": [{"role": "system", "content": "s"}], "answer": "x"}, {}, "no user message in 'prompt'"),
        (
            {"prompt": [{"role": "user", "content": [{"type": "image_url", "image_url": "u"}]}], "answer": "x"},
            {},
            "a part of type 'image_url'",
        ),
        (
            {"problem": "q?", "steps": ["a", "b"], "label": 1, "final_answer_correct": False},
            {},
            "a solution of ProcessBench, whose 'label' is its first wrong step; `import` reads it",
        ),
        ({"question": "q?", "ground_truth": {"verdict": "x"}}, {}, "tasks.answer=ground_truth.verdict"),
        ({"question": "q?", "payload": {"verdict": "x"}}, {}, "'payload' holds verdict: name one as payload.KEY"),
        ({"question": "q?", "solved_by": "x"}, {}, "the row has question, solved_by; name it: tasks.answer=COLUMN"),
        ({"question": "q?", "ANSWER": "x", "Answer": "y"}, {}, "'ANSWER' and 'Answer' both read as 'answer'"),
        ({"question": "q?", "answer": "x", "answerable": False}, {}, "unanswerable: 'answerable' is false"),
        ({"question": "q?", "answers": {"text": [], "answer_start": []}}, {}, "it is empty"),
        ({"question": "q?", "answers": ["x"], "is_impossible": "True"}, {}, "unanswerable"),
        ({"question": "q?", "answer": "x"}, {"answer": "reward_model.truth"}, "no column reward_model.truth"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_name_and_the_cure(tmp_path, row, options, said):
    message = refused(tmp_path, row, **options)
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("question", "answer"),
    [("extra_info.question", "reward_model.truth"), ("EXTRA_INFO.Question", "Reward_Model.Truth")],
)
def test_dots_lead_one_level_down_and_case_does_not_count(tmp_path, question, answer):
    row = {"question": "no", "answer": "no", "extra_info": {"question": "q?"}, "reward_model": {"truth": ["x", "y"]}}
    task = one(tmp_path, row, question=question, answer=answer)
    assert (task.question, task.references) == ("q?", ("x", "y"))
    assert task.meta == row
    flat = {"question": "q?", "reward_model.truth": "x", "reward_model": {"truth": "no"}}
    assert one(tmp_path, flat, answer="reward_model.truth").references == ("x",)


def test_a_named_column_takes_its_own_aliases_and_no_other(tmp_path):
    row = {"question": "q?", "key": "x", "key_aliases": ["y"], "aliases": ["z"]}
    assert one(tmp_path, row, answer="key").references == ("x", "y")


def test_the_rows_own_ids_and_every_other_column_are_kept(tmp_path):
    row = {
        "task_id": "bench-17",
        "source": "ledger",
        "_id": "5a8b",
        "id": 3,
        "uuid": "u-1",
        "question": "q?",
        "answer": "3 + 4 = 7\n#### 7",
        "answer_aliases": ["seven"],
        "extra_info": {"index": 5},
        "meta": {"hops": 2},
    }
    task = one(tmp_path, row)
    kept = {name: value for name, value in row.items() if name not in ("question", "answer_aliases", "meta")}
    assert task.meta == {**kept, "hops": 2}
    assert json.loads(task_row(task)["meta"])["task_id"] == "bench-17"
    clash = one(tmp_path, {"question": "q?", "answer": "x", "id": 1, "meta": {"id": 2}})
    assert clash.meta == {"id": 1, "meta": {"id": 2}}
    assert one(tmp_path, {"question": "q?", "answer": "x", "meta": '{"hops": 2}'}).meta == {"hops": 2}
    assert one(tmp_path, {"question": "q?", "answer": "x", "meta": "note"}).meta == {"meta": "note"}


def test_cells_that_json_cannot_hold_are_kept_as_text(tmp_path):
    day = datetime.date(2021, 3, 4)
    table = pa.table(
        {
            "question": ["q?"],
            "answer": [decimal.Decimal("2.50")],
            "day": [day],
            "image": [{"bytes": b"\x00\x01", "path": None}],
            "share": [float("nan")],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    (task,), _ = load_tasks(str(tmp_path / "a.parquet"))
    assert task.references == ("2.50",)
    assert json.loads(task_row(task)["meta"]) == {
        "day": "2021-03-04",
        "image": {"bytes": "<2 bytes>", "path": None},
        "share": None,
    }


def test_questions_asked_twice_are_told(tmp_path):
    rows = [("q?", "1"), ("r?", "2"), ("q?", "1"), ("q?  ", "3")]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in rows))
    tasks, rejects = load_tasks(str(path))
    assert [task.references for task in tasks] == [("1",), ("2",)]
    assert [reject.reason for reject in rejects] == [
        "duplicate of line 1",
        "the question of line 1 again, with other answers: 3",
    ]


def test_a_solution_of_process_bench_that_holds_its_answer_too_is_a_task(tmp_path):
    row = {"problem": "q?", "steps": ["a"], "label": -1, "final_answer_correct": True, "gold_answer": "7"}
    assert one(tmp_path, row).references == ("7",)
    assert one(tmp_path, row, answer="label").references == ("-1",)
