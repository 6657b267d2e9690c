"""What the team of the golden runs says: every turn follows from its prompt and its request's seed alone.

So neither the order of the requests nor their number in one call changes a word, and another seed does.
"""

from __future__ import annotations

import re
from typing import Any

from scripted import ScriptedEngine

SLIP = 4
"""One turn in so many goes wrong."""
LENGTHY = 9
"""One report in so many is longer than a turn may be."""
TWICE = 3
"""Once in so many the planner asks again before it answers."""


class SeededEngine(ScriptedEngine):
    """The scripted engine, whose script hears the seed as well; `log_p` reads the end of a prompt only, to be quick."""

    def _write(self, request: Any) -> Any:
        self.reply = lambda prompt: speak(prompt, request.seed)
        return super()._write(request)


def speak(prompt: str, seed: int) -> str:
    """The next message. Where the answer is begun already, the rest of it."""
    begun = prompt.rstrip().endswith("answer:")
    text = _turn(prompt, int(seed % SLIP == 0), seed % LENGTHY == 0, seed % TWICE == 0)
    return text.removeprefix("answer: ") if begun else text


def _turn(prompt: str, slip: int, lengthy: bool, twice: bool) -> str:
    if "<system>I read<" in prompt:
        found = re.findall(r"result: (.*?)<", prompt)
        asked = re.findall(r"ask right: (\w+)", prompt)
        if not found and asked and not slip:
            return f"look: {asked[-1]}"
        return (found[-1] if found else "Nothing is known of it.") + (" That is all there is." * 9 if lengthy else "")
    if "<system>I reckon<" in prompt:
        asked = re.findall(r"ask left: ([\d+]+)", prompt)
        return _report(prompt, slip) or (f"calc: {asked[-1]}" if asked else "calc: one and one")
    if "<system>I lead<" in prompt:
        reports = re.findall(r"left: It is (\d+)", prompt)
        place, first, second = _question(prompt)
        if len(reports) == 1 and twice:
            return f"ask left: {first}+{second}"
        if reports:
            return f"answer: {int(reports[-1]) + slip}"
        return f"ask left: {first}+{second + slip}\nask right: {place}"
    return _short(prompt, slip)


def _short(prompt: str, slip: int) -> str:
    """What those say who have no workers."""
    _, first, second = _question(prompt)
    if "<system>I think<" in prompt:
        return _report(prompt, slip) or f"calc: {first}+{second}"
    if "<system>I solve<" in prompt:
        thoughts = re.findall(r"thinker: It is (\d+)", prompt)
        return f"answer: {int(thoughts[-1]) + slip}" if thoughts else "I cannot tell"
    if "<system>I vote" in prompt:
        return "I abstain" if slip and first == 6 else f"answer: {first + second + slip * (1 + first % 2)}"
    result = re.findall(r"result: (\d+)", prompt)
    return f"answer: {int(result[-1]) + slip}" if result else f"calc: {first}+{second}"


def _report(prompt: str, slip: int) -> str:
    result = re.findall(r"result: (\d+)", prompt)
    return f"It is {int(result[-1]) + slip} boats by now." if result else ""


def _question(prompt: str) -> tuple[str, int, int]:
    place, first, second = re.findall(r"boats lie in (\w+) after (\d+)\+(\d+)", prompt)[-1]
    return place, int(first), int(second)
