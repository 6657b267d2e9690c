"""A judging model gives every option a probability, whatever the log looks like."""

from __future__ import annotations

import numpy as np
from scripted import ScriptedEngine, decoded

from apportion.pipeline.localizers.base import Means, Verdict
from apportion.pipeline.localizers.generative_judge import GenerativeJudge
from apportion.pipeline.trajectory.case import Case, Step


def case(*said: tuple[str, str], reference: str | None = "Farrow") -> Case:
    steps = tuple(Step(i, agent, "assistant", None, text) for i, (agent, text) in enumerate(said))
    return Case("c", "Where?", reference, None, steps, "demo")


def judging(favourite: str) -> ScriptedEngine:
    return ScriptedEngine(log_p=lambda prefix, byte: -0.1 if byte == favourite else -3.0)


def judged(engine: ScriptedEngine, one: Case, *, sound: bool = False) -> list[Verdict]:
    return GenerativeJudge().judge([one], Means(lambda: engine, sound=sound))


def test_the_step_whose_number_is_likeliest_is_named_and_its_speaker_blamed():
    (verdict,) = judged(judging("1"), case(("ann", "hello"), ("bob", "wrong"), ("ann", "bye")))
    assert verdict.first_wrong == 1
    assert max(verdict.agents, key=verdict.agents.__getitem__) == "bob"


def test_it_may_say_none_only_where_it_is_asked():
    engine = ScriptedEngine(log_p=lambda prefix, byte: -0.01 if byte in "none\n" else -5.0)
    (verdict,) = judged(engine, case(("ann", "fine"), ("bob", "fine")), sound=True)
    assert verdict.first_wrong is None
    (verdict,) = judged(engine, case(("ann", "fine"), ("bob", "fine")))
    assert verdict.first_wrong is not None
    assert verdict.none == -np.inf


def test_the_prompt_holds_question_reference_and_numbered_steps():
    engine = ScriptedEngine()
    judged(engine, case(("ann", "hello\nthere"), ("bob", "<|x|>")))
    prompt = decoded(engine.scored[0][0].prefix_ids)
    for part in ("Question: Where?", "The right answer is: Farrow", "0. ann: hello there", "1. bob: <|x|>"):
        assert part in prompt
    judged(engine, case(("ann", "hello"), reference=None))
    assert "right answer" not in decoded(engine.scored[1][0].prefix_ids)


def test_a_long_log_is_cut_to_the_window_and_every_step_keeps_an_option():
    engine = ScriptedEngine(max_model_len=1200)
    (verdict,) = judged(engine, case(*[("ann", "x" * 5000)] * 10))
    assert np.isfinite(verdict.steps).all()
    assert max(len(request.ids) for request in engine.scored[0]) <= 1200
    (verdict,) = judged(engine, case(*[("ann", "x" * 50)] * 300))
    assert np.isfinite(verdict.steps).sum() >= 1
    assert not np.isfinite(verdict.steps[0])
    means = Means(lambda: engine)
    assert 0.9 < GenerativeJudge().cut_share([case(*[("ann", "x" * 5000)] * 10)], means) < 1
    assert GenerativeJudge().cut_share([case(("ann", "short"))], means) == 0


def test_a_log_without_steps_has_no_wrong_one():
    (verdict,) = judged(ScriptedEngine(), case())
    assert verdict.first_wrong is None
    assert len(verdict.steps) == 0
