"""Process scores: equations are checked, planted errors go on as they must, and a ranker may say that none is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import ScriptedEngine

from apportion.pipeline.localizers.base import Means, make
from apportion.pipeline.trajectory.case import Case, Label, Step
from research.process_scorers.arithmetic import COLUMNS, arithmetic, claims
from research.process_scorers.ranked import Signals, checker
from research.process_scorers.spoilt import planted, sound
from research.process_scorers.value_drop import final_answer, value_drop

SOLUTIONS = Means(sound=True)
CLIPS = (
    "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n"
    "Natalia sold 48+24 = <<48+24=72>>72 clips altogether in April and May.\n#### 72"
)


def solution(*texts: str, question: str = "How much?", label: int | None = None, name: str = "c") -> Case:
    steps = tuple(Step(i, "solver", "assistant", None, text) for i, text in enumerate(texts))
    wrong = None if label is None else Label(label, "solver")
    return Case(name, question, None, None, steps, "gsm8k", wrong, sound=label is None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("He sold 48/2 = 24 clips", [(24, 24, True)]),
        (r"\(2 \text{ books} \times 2 \text{ pounds/book} = 5 \text{ pounds}\)", [(4, 5, False)]),
        (r"\[ \frac{6}{4} = 1.5 \]", [(1.5, 1.5, True)]),
        ("7.5 / (1/2) = 7.5 * 2 = 15", [(15, 15, True), (15, 15, True)]),
        ("$3^2 + 4^2 = 26$", [(25, 26, False)]),
        ("20% of 50 = 10", [(10, 10, True)]),
        ("10/3 = 3.33", [(10 / 3, 3.33, True)]),
        ("10/3 = 3.5", [(10 / 3, 3.5, False)]),
        ("$1,200 / 12 = $100", [(100, 100, True)]),
    ],
)
def test_an_equation_between_numbers_is_checked(text: str, found: list[tuple[float, float, bool]]):
    assert [(one.left, one.right, one.holds) for one in claims(text)] == [
        (pytest.approx(left), right, holds) for left, right, holds in found
    ]


@pytest.mark.parametrize(
    "text", ["x + 3 = 5", "2x - 4 = 10", "60 minutes = 1 hour", "f(2) + 1 = 7", "n = 4", "3! + 1 = 9", "= =", "1 +"]
)
def test_what_hangs_on_a_variable_or_a_unit_is_left_alone(text: str):
    assert claims(text) == []


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str):
    claims(text)


@given(st.integers(0, 999), st.integers(1, 999), st.sampled_from("+-*"))
def test_true_sums_hold_and_others_do_not(a: int, b: int, sign: str):
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    assert [one.holds for one in claims(f"So {a} {sign} {b} = {value}")] == [True]
    assert [one.holds for one in claims(f"So {a} {sign} {b} = {value + 1}")] == [False]


def test_arithmetic_marks_the_first_step_that_is_wrong_and_numbers_out_of_nowhere():
    case = solution("3 + 4 = 7", "7 * 2 = 15", "15 - 1 = 15", "and 44 more", question="3 and 4, twice")
    rows = dict(zip(COLUMNS, arithmetic(case).T, strict=True))
    assert (rows["wrong"] > 0).tolist() == [False, True, True, False]
    assert rows["first_wrong"].tolist() == [0, 1, 0, 0]
    assert rows["unfounded"][3] > 0
    assert rows["off"][1] == pytest.approx(1 / 14)


def test_a_planted_error_stands_in_one_line_and_later_lines_go_on_with_it():
    for number in range(20):
        case = planted("Natalia sold clips.", CLIPS, number)
        assert case is not None
        assert case.label is not None
        right = sound("Natalia sold clips.", CLIPS)
        assert [one.text for one in case.steps[: case.label.step]] == [
            one.text for one in right.steps[: case.label.step]
        ]
        held = [[one.holds for one in claims(step.text)] for step in case.steps]
        assert held[case.label.step] == [False]
        if case.label.step == 0:  # 48 + wrong is reckoned rightly from the wrong number
            wrong = case.steps[0].text.split(" = ")[1].split()[0]
            assert held[1] == [True]
            assert f"48+{wrong} = {48 + int(wrong)} clips" in case.steps[1].text
        assert "<<" not in "".join(step.text for step in case.steps)


def test_a_solution_without_marks_has_nowhere_to_plant():
    assert planted("q", "It is four.\n#### 4") is None
    assert sound("q", CLIPS).sound
    assert sound("q", CLIPS).steps[0].text == "Natalia sold 48/2 = 24 clips in May."


def test_the_final_answer_is_what_is_boxed_or_the_last_number():
    assert final_answer(solution(r"\boxed{\frac{1}{2}}", "check: 7")) == r"\frac{1}{2}"
    assert final_answer(solution("5 apples", "so she has 1,204.")) == "1,204"
    assert final_answer(solution("nobody knows")) is None


def test_value_is_read_after_every_step_on_one_growing_prompt():
    engine = ScriptedEngine(log_p=lambda prefix, byte: -1.0 if "wrong" in prefix else -0.1)
    made = value_drop([solution("fine", "wrong turn", "so 12")], engine)["c"]
    assert made[:, 0] == pytest.approx(np.exp([-0.1, -1.0, -1.0]))
    assert made[:, 2].tolist() == [0, 1, 0]
    assert value_drop([solution("no number")], engine)["c"].tolist() == [[0, 0, 0, 0]]


def test_the_ranker_names_a_step_or_none():
    cases, marks = [], {}
    for number in range(40):
        label = number % 3 if number % 2 else None
        case = solution("a", "b", "c", label=label, name=f"c{number}", question=f"question {number}")
        marks[case.case_id] = np.array([[float(place == label)] for place in range(3)])
        cases.append(case)
    signals = Signals(lambda some: {case.case_id: marks[case.case_id] for case in some})
    ranker = checker(signals)
    fitted = ranker.fit(cases[10:30], SOLUTIONS)
    assert [verdict.first_wrong for verdict in fitted.judge(cases[30:], SOLUTIONS)] == [
        None if case.label is None else case.label.step for case in cases[30:]
    ]
    assert ranker.judge(cases, SOLUTIONS)[0].first_wrong is None  # nothing learned: all alike


def test_signals_look_at_each_case_once():
    seen: list[str] = []

    def measure(cases: Sequence[Case]) -> dict[str, np.ndarray]:
        seen.extend(case.case_id for case in cases)
        return {case.case_id: np.zeros((1, 1)) for case in cases}

    signals = Signals(measure)
    one, two = solution("a", name="one"), solution("b", name="two")
    signals.of([one])
    assert len(signals.of([one, two, one])) == 3
    assert seen == ["one", "two"]


def test_signals_on_file_are_not_measured_again_and_another_text_is_another_solution(tmp_path):
    seen: list[str] = []

    def measure(cases: Sequence[Case]) -> dict[str, np.ndarray]:
        seen.extend(case.steps[0].text for case in cases)
        return {case.case_id: np.full((1, 1), float(case.steps[0].text)) for case in cases}

    def again() -> Signals:
        return Signals(measure, lambda: tmp_path / "kept" / "one.npz")

    assert [float(x) for x in again().of([solution("1"), solution("2", name="d")])] == [1, 2]
    assert [float(x) for x in again().of([solution("2"), solution("1"), solution("3")])] == [2, 1, 3]
    assert seen == ["1", "2", "3"]


def test_checkers_that_ask_no_model_are_named_by_path():
    case = solution("3 + 4 = 7", "7 * 2 = 15", label=1)
    for name in ("Arithmetic", "StructureAndArithmetic"):
        made = make(f"research.process_scorers.named:{name}")
        assert len(made.fit([case], SOLUTIONS).judge([case], SOLUTIONS)[0].steps) == 2
