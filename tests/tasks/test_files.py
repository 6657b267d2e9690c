"""Reading tasks: the usual shapes are found, bad rows are set aside, and the rest goes on."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.tasks import load_tasks
from apportion.pipeline.tasks.reading.files import load_questions

GSM8K = Path(__file__).parents[3] / "shared" / "data" / "gsm8k" / "test.jsonl"


def jsonl(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("row", "references"),
    [
        ({"question": "q", "answer": "yes"}, ("yes",)),
        ({"problem": "q", "target": 7}, ("7",)),
        ({"prompt": "q", "answers": ["Rome", "Roma", "Rome"]}, ("Rome", "Roma")),
        ({"query": "q", "ground_truth": 2.0}, ("2",)),
        ({"question": "q", "answer": 2.5}, ("2.5",)),
        ({"question": "q", "answer": True}, ("yes", "true")),
        ({"question": "q", "answer": "1 + 1233 = 1,234\n#### 1,234"}, ("1234",)),
        ({"question": "q", "answers": {"text": ["x", "y"], "answer_start": [1, 2]}}, ("x", "y")),
        ({"question": "q", "answer": {"value": "x", "aliases": ["x", "z"]}}, ("x", "z")),
        ({"question": "q", "answer": "worked out", "references": ["5"]}, ("5",)),
        ({"question": "q", "references": None, "answer": 0}, ("0",)),
    ],
)
def test_references_of_the_usual_shapes(tmp_path, row, references):
    tasks, rejects = load_tasks(jsonl(tmp_path / "a.jsonl", [row]))
    assert tasks[0].question == "q"
    assert tasks[0].references == references
    assert not rejects


def test_bad_rows_are_set_aside_and_the_rest_goes_on(tmp_path):
    good = {"question": "one?", "answer": "1"}
    rows = [good, "{broken", "", ["a"], {"answer": "x"}, {"question": " ", "answer": "x"}, {"question": "q"}]
    rows += [
        {"question": "q", "answer": None},
        {"question": 3, "answer": 3},
        good,
        {"question": "two?", "answer": "2"},
    ]
    path = jsonl(tmp_path / "a.jsonl", rows)
    with open(path, "ab") as file:
        file.write(b'{"question": "\xff"}\n')
    tasks, rejects = load_tasks(path)
    assert [task.question for task in tasks] == ["one?", "two?"]
    reasons = {reject.line: reject.reason for reject in rejects}
    assert list(reasons) == [2, 4, 5, 6, 7, 8, 9, 10, 12]
    expected = ["not JSON", "object", "no question", "empty question", "no answer", "no answer", "not text"]
    expected += ["duplicate", "not UTF-8"]
    for reason, part in zip(reasons.values(), expected, strict=True):
        assert part in reason
    assert rejects[0].source == path
    assert rejects[0].text == "{broken"


def test_named_columns_are_taken_and_no_other(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"question": "q", "answer": "a", "ask": "other", "key": "b"}])
    tasks, _ = load_tasks(path, question="ask", answer="key")
    assert (tasks[0].question, tasks[0].references) == ("other", ("b",))
    assert tasks[0].meta == {"question": "q", "answer": "a"}
    with pytest.raises(UserError, match=r"no column asked; the row has question"):
        load_tasks(path, question="asked")


def test_split_chooses_rows_that_name_one_and_labels_those_that_do_not(tmp_path):
    rows = [
        {"question": "a", "answer": "1", "split": "train"},
        {"question": "b", "answer": "1", "split": "test"},
    ]
    path = jsonl(tmp_path / "a.jsonl", [*rows, {"question": "c", "answer": "1"}])
    assert [(t.question, t.split) for t in load_tasks(path, split="test")[0]] == [
        ("b", "test"),
        ("c", "test"),
    ]
    assert [t.split for t in load_tasks(path)[0]] == ["train", "test", "all"]


def test_limit_counts_tasks(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"question": str(i), "answer": "1"} for i in range(9)])
    assert [t.question for t in load_tasks(path, limit=2)[0]] == ["0", "1"]
    with pytest.raises(UserError, match="limit"):
        load_tasks(path, limit=0)


def test_json_list_and_parquet_and_folder_give_the_same_tasks(tmp_path):
    rows = [{"question": f"q{i}", "answers": [str(i), "n"]} for i in range(3)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    folder = tmp_path / "hub" / "data"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_pylist(rows), folder / "train-00000-of-00001.parquet")
    pq.write_table(pa.Table.from_pylist(rows[:1]), folder / "test-00000-of-00001.parquet")
    first = [task.task_id for task in load_tasks(jsonl(tmp_path / "a.jsonl", rows))[0]]
    for path in ("a.json", "a.parquet", "hub"):
        assert [task.task_id for task in load_tasks(str(tmp_path / path), split="train")[0]] == first
    assert len(load_tasks(str(tmp_path / "hub"), split="test")[0]) == 1
    with pytest.raises(UserError, match=r"no split 'dev'.*test, train"):
        load_tasks(str(tmp_path / "hub"), split="dev")


def test_saved_data_set(tmp_path):
    datasets = pytest.importorskip("datasets")
    part = datasets.Dataset.from_list([{"question": "q", "answer": 4}])
    part.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": part, "test": part}).save_to_disk(str(tmp_path / "two"))
    assert load_tasks(str(tmp_path / "one"))[0][0].references == ("4",)
    assert load_tasks(str(tmp_path / "two"), split="test")[0][0].split == "test"
    with pytest.raises(UserError, match="name a split; it has train, test"):
        load_tasks(str(tmp_path / "two"))


def test_missing_file_names_its_neighbours_and_a_hub_id_its_switch(tmp_path):
    jsonl(tmp_path / "train.jsonl", [{"question": "q", "answer": "a"}])
    with pytest.raises(UserError, match=r"no such file or folder; near it: train\.jsonl$"):
        load_tasks(str(tmp_path / "trian.jsonl"))
    with pytest.raises(UserError, match="tasks.hub=true"):
        load_tasks("nobody/nothing-of-that-name")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", ""),
        ("a.jsonl", "{}\n"),
        ("a.json", "{}"),
        ("a.json", "["),
        ("a.csv", "x"),
        ("a.parquet", "x"),
    ],
)
def test_a_file_without_a_task_is_refused_in_one_line(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_tasks(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not GSM8K.is_file(), reason="the trial data is not here")
def test_gsm8k_as_published():
    tasks, rejects = load_tasks(str(GSM8K), split="test")
    assert len(tasks) + len(rejects) == 300
    assert tasks[0].references == ("18",)
    assert all("," not in task.references[0] for task in tasks)


def test_questions_alone_need_no_answers_and_may_name_their_column(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"question": " q? "}, {"input": "r?"}, {"problem": "s?", "answer": 1}])
    assert load_questions(path, "input") == ["q?", "r?", "s?"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"question": "q"}, {"question": None}], r"a\.jsonl:2: question in 'question' is NoneType, not text"),
        ([{"question": "q"}, {"question": " "}], r"a\.jsonl:2: empty question"),
        ([{"question": "q"}, "{"], r"a\.jsonl:2: not JSON"),
        ([["q"]], r"a\.jsonl:1: a row must be an object"),
        ([], r"a\.jsonl: it holds no row"),
    ],
)
def test_a_question_that_cannot_be_read_is_never_passed_over(tmp_path, rows, said):
    with pytest.raises(UserError, match=said):
        load_questions(jsonl(tmp_path / "a.jsonl", rows))
