"""Small logs for the tests of signals and of what learns from them."""

from __future__ import annotations

from apportion.pipeline.trajectory.case import Case, Label, Step


def case(*said: tuple[str, str], question: str = "How many?", label: Label | None = None, **more: object) -> Case:
    """A log of (agent, text) in order; "A -> B" as agent addresses B."""
    steps = []
    for index, (agent, text) in enumerate(said):
        name, _, recipient = agent.partition(" -> ")
        steps.append(Step(index, name, "assistant", recipient or None, text))
    fields = {"reference": "7", "answer": None, "source": "test"} | more
    return Case(case_id=f"c-{question}", question=question, steps=tuple(steps), label=label, **fields)  # type: ignore[arg-type]


AGENTS = ("Plan_Expert", "Data_Expert", "Verification_Expert")


def planted(number: int) -> Case:
    """A log of six messages in which the one that assumes something is to blame."""
    guilty = number * 7 % 6
    said = [(AGENTS[(i + number) % 3], "We assume five." if i == guilty else "We go on.") for i in range(6)]
    return case(*said, question=f"question {number}", label=Label(guilty, said[guilty][0]))
