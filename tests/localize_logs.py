"""Small logs for the tests of signals and of what learns from them."""

from __future__ import annotations

from dataclasses import replace

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


TALK = "To solve this we need to look at the data step by step and check what we find. " * 8
CODE = TALK + "```python\nprint(1)\n```"
RAN = "exitcode: 0 (execution succeeded)\nCode output: 1 and some more of what was printed there"


def team(number: int, topic: str = "Data") -> Case:
    """A log of a team like the automatically built ones of Who&When."""
    expert, checker, terminal = f"{topic}_Expert", "Verification_Expert", "Computer_terminal"
    said = [(expert, TALK), (terminal, "There is no code"), (checker, CODE + "x" * (number % 10 * 40)), (terminal, RAN)]
    said += [(expert, CODE), (terminal, RAN), (checker, TALK), (terminal, RAN)]
    return case(*said[: 6 + number % 3], question=f"question {number}", label=Label(2, checker))


def chat(*turns: tuple[str, str]) -> Case:
    """Roles are told by the speaker's name."""
    roles_of = {"user": "user", "tool": "tool"}
    steps = tuple(Step(i, name, roles_of.get(name, "assistant"), None, text) for i, (name, text) in enumerate(turns))
    return replace(case(("a", "")), steps=steps)


FOREIGN = {
    "one agent with a user": chat(*[("assistant", "I can help."), ("user", "Thanks, and the other one?")] * 6),
    "one agent with tools": chat(*[("assistant", "<tool_call>\n{}\n</tool_call>"), ("tool", "17")] * 8),
    "one solver": chat(*[("solver", "So we have 5 + 4 = 9.")] * 6),
    "a supervisor with workers": chat(
        ("supervisor", "ask archivist"), ("archivist", "1871"), ("supervisor", "The answer is 1871.")
    ),
    "a group chat": chat(
        ("coder", CODE), ("executor", RAN), ("critic", TALK), ("coder", CODE), ("critic", "TERMINATE")
    ),
    "a company": chat(
        ("Chief Executive Officer", TALK), ("Programmer", CODE), ("Code Reviewer", TALK), ("Programmer", CODE)
    ),
    "one sentence": chat(("helper", "42")),
}
