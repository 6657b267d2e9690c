"""Search finds by words, breaks ties by order, and stays quiet."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.registry import family
from apportion.pipeline.tools.base import Tool
from apportion.pipeline.tools.search import Index, Search, documents_in, tokenize

DOCUMENTS = [
    "The Café Noir is owned by Zoë.",
    "The river runs.",
    "A river, a river!",
    "Наш дом",
    "The river runs.",
]


def test_words_are_folded_and_none_is_dropped():
    assert tokenize("The Café_Noir's 3 RUNS, naïve") == ["the", "cafe", "noir", "s", "3", "runs", "naive"]


def test_scripts_without_spaces_are_cut_into_pairs_of_letters():
    assert tokenize("北京是") == ["北京", "京是", "北", "京", "是"]
    assert tokenize("東京タワー 1958年") == ["東京", "京タ", "タワ", "ワー", "東", "京", "1958", "年"]
    assert tokenize("ガラス") == ["ガラ", "ラス"]
    assert tokenize("서울은 수도") == ["서울은", "수도"]


@pytest.mark.parametrize(
    ("question", "found"),
    [("中国的首都是哪里？", 0), ("黄浦江流经哪个城市", 1), ("東京タワーの高さは？", 2), ("แม่น้ำเจ้าพระยาอยู่ที่ไหน", 3)],
)
def test_a_question_without_spaces_finds_its_document(question, found):
    documents = [
        "北京是中国的首都。",
        "上海在黄浦江边。",
        "東京タワーは333メートルです。",
        "กรุงเทพตั้งอยู่ริมแม่น้ำเจ้าพระยา",
        "The river runs.",
    ]
    assert Index(documents).run(question).text == documents[found]


def test_best_document_first():
    search = Index(DOCUMENTS, k=2)
    assert search.run("cafe ZOE").text == DOCUMENTS[0]
    assert search.run("river").text.split("\n")[0] == DOCUMENTS[2]
    assert search.run("дом").text == DOCUMENTS[3]
    assert issubclass(Search, Tool)


def test_a_stop_word_can_be_searched_for():
    assert Index(["to be or not", "who is the"]).run("who is the").text == "who is the"


def test_ties_go_to_the_earlier_document():
    documents = [f"same words {'x' if i % 2 else 'y'}" for i in range(200)]
    result = Index(documents, k=3).run("same words")
    assert result.text.split("\n") == documents[:3]


def test_no_hit_and_no_words():
    search = Index(DOCUMENTS)
    assert (search.run("zebra").text, search.run("zebra").valid) == ("nothing found", True)
    for text in ("", "  ?! "):
        assert not search.run(text).valid
        assert search.run(text).text.startswith("error: ")
    assert search.run("zebra " * 10_000).valid


def test_prints_nothing(capfd):
    Index(DOCUMENTS).run("river")
    assert capfd.readouterr() == ("", "")


def test_ten_thousand_documents_rank_the_only_match_first():
    documents = [f"record {i} of the archive lies on shelf {i % 97}" for i in range(10_000)]
    assert Index(documents).run("record 7321").text == documents[7321]


def test_files(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "a.jsonl").write_text(json.dumps({"title": "T", "text": "one\ntwo"}) + "\n" + json.dumps({"text": "x"}))
    pq.write_table(pa.table({"text": ["p", "q"], "id": [1, 2]}), tmp_path / "a.parquet")
    assert tuple(documents_in(tmp_path / "a.txt")) == ("one", "two")
    assert tuple(documents_in(tmp_path / "a.jsonl")) == ("T: one two", "x")
    assert tuple(documents_in(tmp_path / "a.parquet")) == ("p", "q")


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("a.jsonl", '{"text": "x"}\nno', "a.jsonl:2: is not JSON"),
        ("a.jsonl", '{"body": "x"}', 'a.jsonl:1: has no text in "text"'),
        ("a.txt", "\n", "no document with a word"),
        ("a.pdf", "x", "cannot read .pdf"),
        ("a.parquet", "x", "not a readable Parquet"),
    ],
)
def test_unusable_files_are_refused_with_their_place(tmp_path, name, text, part):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=part):
        Search(documents=str(tmp_path / name))


def test_missing_file_and_senseless_k(tmp_path):
    with pytest.raises(UserError, match="no such document file"):
        Search(documents=str(tmp_path / "none.jsonl"))
    with pytest.raises(UserError, match="k = 0: must be a whole number, at least 1"):
        family("tools").make("search", {"documents": "none.jsonl", "k": 0})
