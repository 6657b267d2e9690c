"""What the signals of the text read off a log."""

from __future__ import annotations

import math

import numpy as np
import pytest
from localize_logs import case

from apportion.pipeline.localizers.signals import TEXT, novelty
from apportion.pipeline.trajectory.case import Case


def read(name: str, one: Case) -> dict[str, list[float]]:
    signal = next(signal for signal in TEXT if signal.name == name)
    table = signal.read(one)
    return {column: table[:, i].tolist() for i, column in enumerate(signal.columns)}


CODE = "```python\nprint(1)\n```"
RUN = case(
    ("Coder_Expert", f"Let's assume 12 boxes. {CODE}"),
    ("Computer_terminal", "exitcode: 1 (execution failed)\nTraceback (most recent call last): boom"),
    ("Verification_Expert", f"However, that failed. {CODE}"),
    ("Computer_terminal", "exitcode: 0 (execution succeeded)\nCode output: 5"),
    ("Coder_Expert", "Therefore the answer is **5**."),
    ("Verification_Expert", "TERMINATE"),
)


def test_what_a_tool_answers_counts_for_the_message_before_it() -> None:
    tools = read("tools", RUN)
    assert tools["error_next"] == [1, 0, 0, 0, 0, 0]
    assert tools["silent_next"] == [0, 0, 1, 0, 0, 0]
    assert tools["error_before"] == [0, 0, 1, 0, 0, 0]
    assert tools["errors_later"] == pytest.approx([math.log(2), 0, 0, 0, 0, 0])


def test_words_count_for_agents_and_not_for_tools() -> None:
    content = read("content", RUN)
    assert content["hedge"] == pytest.approx([math.log(2), 0, 0, 0, 0, 0])
    assert content["first_code"] == [1, 0, 0, 0, 0, 0]
    assert content["idle"] == [0, 0, 0, 0, 0, 1]
    assert content["doubted"][0] == pytest.approx(math.log(2))  # "However", two messages on
    assert content["concludes"][4] > 0


def test_kinds_of_agents_are_told_by_name_wherever_they_come_from() -> None:
    roles = read("roles", RUN)
    assert roles["expert"] == [1, 0, 0, 0, 1, 0]
    assert roles["tool"] == [0, 1, 0, 1, 0, 0]
    assert roles["verifier"] == [0, 0, 1, 0, 0, 1]


def test_the_answer_is_guessed_from_the_last_words_and_traced_to_who_said_it_first() -> None:
    assert novelty.claimed(RUN) == "5"
    assert novelty.claimed(case(("a", "it is so"), answer="1,250 km")) == "1,250 km"
    assert novelty.claimed(case(("a", "TERMINATE"))) is None
    found = read("mentions", RUN)
    assert found["answer_first"] == [0, 0, 0, 1, 0, 0]
    assert found["answer_later"] == [0, 0, 0, 0, 1, 0]


def test_a_mention_is_a_whole_number_in_any_grouping() -> None:
    one = case(("a", "see 1250 and 12500"), ("b", "1,250 km it is"), answer="1,250")
    assert novelty.stated("1,250", one) == [True, True]
    assert novelty.stated("125", one) == [False, False]
    assert novelty.stated("many", one) == [False, False]  # the question's own word says nothing


def test_new_and_repeated_words() -> None:
    found = read("repetition", case(("a", "red fish swim far away"), ("b", "red fish swim far away"), ("c", "12 cats")))
    assert found["new_words"] == pytest.approx([1, 0, 2 / 5])
    assert found["repeats"] == pytest.approx([0, 1, 0])
    assert found["echoed"] == pytest.approx([1, 0, 0])
    assert found["new_numbers"] == pytest.approx([0, 0, math.log(2)])


def ledger(progress: str, loop: str) -> str:
    return (
        f'Updated Ledger: {{"is_request_satisfied": {{"reason": "-", "answer": false}}, "is_in_loop": {{"reason": "-", '
        f'"answer": {loop}}}, "is_progress_being_made": {{"reason": "-", "answer": {progress}}}}}'
    )


def test_a_workers_turn_is_judged_by_the_ledger_after_it() -> None:
    one = case(
        ("Orchestrator -> WebSurfer", "search"),
        ("WebSurfer", "I typed 'x'. See [x](https://a.org/)"),
        ("Orchestrator", ledger("true", "false")),
        ("Orchestrator -> WebSurfer", "click"),
        ("WebSurfer", "I clicked 'y'. See [x](https://a.org/)"),
        ("Orchestrator", ledger("false", "true")),
        ("Orchestrator", "Stalled.... Replanning..."),
    )
    said = read("ledger", one)
    assert said["no_progress"] == said["in_loop"] == said["first_setback"] == [0, 0, 0, 0, 1, 0, 0]
    assert said["before_stall"] == [1, 1, 1, 1, 1, 1, 0]
    turns = read("turns", one)
    assert turns["turn_1"] == turns["searches"] == [0, 1, 0, 0, 0, 0, 0]
    assert turns["turn_2"] == turns["clicks"] == turns["last_turn"] == turns["same_page"] == [0, 0, 0, 0, 1, 0, 0]


def test_hostile_ledgers_are_text() -> None:
    one = case(("Orchestrator", '"is_in_loop": {' * 500), ("WebSurfer", "\x00\ud83d" * 50), ("a", ""))
    for signal in TEXT:
        assert np.isfinite(signal.read(one)).all()


def test_every_text_signal_takes_a_log_of_one_step() -> None:
    for signal in TEXT:
        table = signal.read(case(("a", "")))
        assert table.shape == (1, len(signal.columns))
        assert np.isfinite(table).all()
