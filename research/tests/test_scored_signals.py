"""What the signals that ask a scorer read off a log."""

from __future__ import annotations

import pytest
from localize_logs import case
from scripted import ScriptedEngine, decoded

from apportion.pipeline.trajectory.case import Case
from research.features import Features
from research.signals import answer_support, hinted, masked, surprise, value
from research.signals.scored import ScoredSignal
from research.signals.window import View


def scored(signal: ScoredSignal, one: Case, engine: ScriptedEngine) -> dict[str, list[float]]:
    table = Features((signal,), lambda: engine).of([one])[0]
    return {column: table[:, i].tolist() for i, column in enumerate(signal.columns)}


def test_the_value_of_the_reference_rises_and_falls_with_what_is_said() -> None:
    def log_p(prefix: str, token: str) -> float:
        return -1.0 if "good" in prefix and "bad" not in prefix else -3.0

    one = case(("a", "hello"), ("b", "good"), ("c", "TERMINATE"), ("d", "bad"))
    found = scored(value.signal, one, ScriptedEngine(log_p=log_p))
    assert found["level"] == pytest.approx([-3, -1, -1, -3])
    assert found["rise"] == pytest.approx([0, 2, 0, -2])
    assert found["falls"] == pytest.approx([0, 0, 0, -2])
    assert found["lost"] == pytest.approx([0, 0, 0, -2])


def test_support_for_the_teams_answer_jumps_where_it_is_first_made_likely() -> None:
    def log_p(prefix: str, token: str) -> float:
        return -0.5 if "nine" in prefix else -2.0

    one = case(("a", "hello"), ("b", "nine"), ("c", "so"), answer="9")
    found = scored(answer_support.signal, one, ScriptedEngine(log_p=log_p))
    assert found["top_rise"] == [0, 1, 0]
    assert found["rise"] == pytest.approx([0, 1.5, 0])
    silent = ScriptedEngine(log_p=log_p)
    assert scored(answer_support.signal, case(("a", "hello")), silent)["level"] == [0]
    assert silent.scored == [[]]


def test_a_hint_makes_less_surprising_what_fits_the_answer() -> None:
    def log_p(prefix: str, token: str) -> float:
        fits = prefix.endswith(("it is ", "it is 7")) and token == "7"
        return -1.0 if fits and "correct answer is: 7" in prefix else -2.0

    one = case(("a", "it is 7"), ("b", "it is 8"))
    engine = ScriptedEngine(log_p=log_p)
    assert scored(surprise.signal, one, engine)["mean"] == pytest.approx([2, 2])
    gain = scored(hinted.signal, one, engine)["gain"]
    assert gain[0] == pytest.approx(1 / len("a: it is 7\n\n"))
    assert gain[1] == 0


def test_a_message_without_which_the_reference_is_likelier_does_harm() -> None:
    def log_p(prefix: str, token: str) -> float:
        return -1.0 if "good" in prefix and "bad" not in prefix else -3.0

    engine = ScriptedEngine(log_p=log_p)
    found = scored(masked.signal, case(("a", "hello"), ("b", "good"), ("c", "TERMINATE"), ("d", "bad")), engine)
    assert found["harm"] == pytest.approx([0, 0, 0, 2])
    assert found["harm_in_log"] == pytest.approx([-0.5, -0.5, -0.5, 1.5])
    assert found["most"] == [0, 0, 0, 1]
    asked = [decoded(request.prefix_ids) for request in engine.scored[0]]
    assert asked[2].startswith("Question: How many?\n\na: hello\n\nb: (no message)\n\nc: TERMINATE\n\nd: bad\n\n")
    assert scored(masked.signal, case(("a", "hello"), reference=" "), engine)["harm"] == [0]


def test_a_masked_message_is_read_with_what_fits_in_its_horizon() -> None:
    view = View((), tuple((1,) * size for size in (3, 5, 2, 4)), 0.0, 14)
    assert masked.horizons(view, room=20) == [2, 3, 4, 4]

    def log_p(prefix: str, token: str) -> float:
        return -3.0 if "bad" in prefix and "mended" not in prefix else -1.0

    def harm(mended_at: int) -> float:
        said = ["mended" if i == mended_at else "bad" if not i else "." * 100 for i in range(12)]
        return scored(masked.signal, case(*(("a", text) for text in said)), ScriptedEngine(log_p=log_p))["harm"][0]

    assert harm(mended_at=2) == 0
    assert harm(mended_at=8) == 2
