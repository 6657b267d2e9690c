"""What is dropped from a data set, what must not be, and on which side of the split a question lies."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_rows import BETTER, QUESTION, WORSE, frame, tasks

from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.datasets.hygiene import REASONS, Cleaned, clean, content, length_bias, wilson, with_split
from apportion.pipeline.datasets.split import contaminated, question_key, split_of


def pair(chosen: str, rejected: str, **changes: Any) -> dict[str, Any]:
    return {
        "pair_id": f"x{chosen}{rejected}", "kind": "first_error", "task_id": "t0", "agent": "planner",
        "prompt": [{"role": "user", "content": "?"}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "prompt_ids": [1], "chosen_ids": [2, 3], "rejected_ids": [4],
        "chosen_k": 4, "chosen_successes": 3, "rejected_k": 4, "rejected_successes": 1, "margin": 0.5, "weight": 0.7,
    } | changes  # fmt: skip


def preferences(*rows: dict[str, Any]) -> pl.DataFrame:
    return frame("preferences", list(rows))


def dropped(result: Cleaned) -> dict[str, int]:
    return {reason: count for reason, count in result.dropped.items() if count}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (pair("a", "b", chosen_k=0, chosen_successes=0), "unconfirmed"),
        (pair("a", "b", chosen_successes=1), "unconfirmed"),
        (pair("answer: Ashby ", "answer: Ashby"), "identical"),
        (pair("Answer: Ashby.", "answer: ashby"), "near_identical"),
        (pair("So the answer is 42", "The answer is 42."), "near_identical"),
    ],
)
def test_pairs_that_teach_nothing_go(row: dict[str, Any], reason: str) -> None:
    result = clean(preferences(row), tasks())
    assert len(result.pairs) == 0
    assert dropped(result) == {reason: 1}
    assert tuple(result.dropped) == REASONS


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        (BETTER, WORSE),
        ("answer: 3.5", "answer: 35"),
        ("answer: -3", "answer: 3"),
        ("calculate: 3*4", "calculate: 3+4"),
        ("search: not sold", "search: sold"),
        ("word " * 200 + "so it is 41", "word " * 200 + "so it is 42"),
    ],
)
def test_one_telling_difference_keeps_a_pair(chosen: str, rejected: str) -> None:
    assert len(clean(preferences(pair(chosen, rejected)), tasks()).pairs) == 1


def test_pairs_that_contradict_each_other_both_go() -> None:
    result = clean(
        preferences(pair("a", "b"), pair("b", "a"), pair("b", "a", prompt_ids=[9], pair_id="other")), tasks()
    )
    assert result.pairs["pair_id"].to_list() == ["other"]
    assert dropped(result) == {"contradicted": 2}


def test_duplicates_merge_into_the_largest_sample_whatever_their_kind() -> None:
    small, large = pair("a", "b"), pair("a", "b", pair_id="large", kind="contrast", chosen_k=8, chosen_successes=5)
    result = clean(preferences(small, large), tasks())
    assert result.pairs["pair_id"].to_list() == ["large"]
    assert dropped(result) == {"duplicate": 1}


def test_same_sides_under_different_prompts_are_different_pairs() -> None:
    ids_gone = {"prompt_ids": None}
    other = [{"role": "user", "content": "!"}]
    rows = [pair("a", "b", **ids_gone), pair("a", "b", pair_id="o", prompt=other, **ids_gone)]
    assert len(clean(preferences(*rows), tasks()).pairs) == 2


def test_contaminated_questions_are_dropped_and_counted() -> None:
    rows = [pair("a", "b"), pair("c", "d", task_id="t1")]
    result = clean(preferences(*rows), tasks(QUESTION, QUESTION.replace("Blue", "Red")), evaluation=[QUESTION.upper()])
    assert result.pairs["task_id"].to_list() == ["t1"]
    assert dropped(result) == {"contaminated": 1}


def test_pair_without_its_task_is_an_error() -> None:
    with pytest.raises(WorkError, match="tasks: t7 is not there"):
        clean(preferences(pair("a", "b", task_id="t7")), tasks())


def test_nothing_in_nothing_out() -> None:
    result = clean(preferences(), tasks())
    assert (len(result.pairs), dropped(result)) == (0, {})
    assert length_bias(result.pairs).longer is None


@given(st.text(max_size=30))
@settings(deadline=None)
def test_content_ignores_space_and_final_stop(text: str) -> None:
    assert content(text) == content(f" {text} .")


def test_length_bias_by_hand() -> None:
    rows = [pair("a", "b"), pair("c", "d"), pair("e", "f", chosen_ids=[1], rejected_ids=[1, 2, 3, 4])]
    rows.append(pair("g", "h", chosen_ids=[1], rejected_ids=[2]))
    bias = length_bias(preferences(*rows))
    assert (bias.pairs, bias.unit, bias.equal) == (4, "tokens", 1)
    assert (bias.chosen_mean, bias.rejected_mean) == (6 / 4, 7 / 4)
    assert bias.longer == pytest.approx(2 / 3)
    assert (bias.low, bias.high) == wilson(2, 3)


def test_length_in_words_where_tokens_are_missing() -> None:
    bias = length_bias(preferences(pair("one two", "one"), pair("one", "two", chosen_ids=None)))
    assert (bias.unit, bias.chosen_mean, bias.equal) == ("words", 1.5, 1)


def test_wilson_by_hand() -> None:
    # 5 of 10: centre 1/2, half width z sqrt(1/40 + z^2/400) / (1 + z^2/10) = 0.2634 with z = 1.96.
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    # 3 of 3: the lower end is 1 / (1 + z^2/3) = 0.4385.
    assert wilson(3, 3) == pytest.approx((0.4385, 1.0), abs=1e-4)
    assert wilson(0, 3) == pytest.approx((0.0, 0.5615), abs=1e-4)


def test_two_questions_of_one_template_are_different_questions() -> None:
    template = "In which town does the owner of the {} Lantern live?"
    inns = ["Blue", "Red", "Old", "Amber", "Black", "Brass", "Calm", "Dusty"]
    assert len({question_key(template.format(inn)) for inn in inns}) == len(inns)
    assert question_key("Tom has 3 apples and eats 1.") != question_key("Tom has 3 apples and eats 2.")
    assert question_key("What is 3+4?") != question_key("What is 3*4?")
    assert question_key("Where was Ada born?") != question_key("When was Ada born?")
    sides = split_of([template.format(f"{a}{b}") for a in inns for b in inns], 0.25, 0.25)
    assert all(4 <= sides.count(side) <= 60 for side in ("train", "validation", "test"))


def test_forms_of_one_question_are_one_question() -> None:
    forms = [
        "In which town does the owner of the Blue Lantern live?",
        "in which town does the owner of the blue lantern live",
        "Please tell me in which town the Blue Lantern's owner does live!",
        "\uff29n which town  does the owner of \u201cthe Blue Lantern\u201d live?",
    ]
    assert len({question_key(form) for form in forms}) == 1
    assert len(set(split_of(forms, 0.3, 0.3))) == 1


@given(st.lists(st.text(max_size=20), max_size=10), st.floats(0, 0.45), st.floats(0, 0.45))
@settings(max_examples=50, deadline=None)
def test_side_depends_on_the_question_alone(questions: list[str], validation: float, test: float) -> None:
    together = split_of(questions, validation, test)
    assert together == [split_of([question], validation, test)[0] for question in questions]
    more = split_of(questions, validation + 0.05, test)
    moved = {(before, after) for before, after in zip(together, more, strict=True) if before != after}
    assert moved <= {("train", "validation")}


def test_shares_are_kept_on_average() -> None:
    sides = split_of([f"What is {n} squared?" for n in range(2000)], 0.2, 0.1)
    assert sides.count("validation") / 2000 == pytest.approx(0.2, abs=0.04)
    assert sides.count("test") / 2000 == pytest.approx(0.1, abs=0.03)
    assert set(split_of(["a", "b", "c"], 0, 0)) == {"train"}


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0.0), (0.6, 0.4), (float("nan"), 0.0)])
def test_impossible_shares(validation: float, test: float) -> None:
    with pytest.raises(UserError, match="export: validation"):
        split_of(["a"], validation, test)


def test_rows_of_one_question_are_on_one_side() -> None:
    known = tasks("Where is Ashby?", "where is ashby", "Where is Emberby?")
    rows = with_split(pl.DataFrame({"task_id": ["t0", "t1", "t2", "t0"]}), known, validation=0.4, test=0.3)
    sides = rows["split"].to_list()
    assert sides[0] == sides[1] == sides[3]


def test_contamination_finds_a_wrapped_question_and_no_sibling() -> None:
    wrapped = f"Solve the following problem. {QUESTION} Think step by step."
    sibling = wrapped.replace("Blue", "Red")
    assert contaminated([QUESTION, wrapped, sibling], [QUESTION]) == [True, True, False]
    assert contaminated(["Who is it? Where is Ashby?"], ["Where is Ashby?"]) == [False]
    assert contaminated([QUESTION], []) == [False]
