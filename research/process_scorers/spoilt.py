"""Right solutions with one planted arithmetic error: labelled training data for a process model, without an annotator.

For solutions as GSM8K writes them: a step a line, every calculation marked `<<48/2=24>>`, the reference after `####`.
One result is changed (by 1 to 9 units of its last digit, or to what another operation would give); every later
calculation that uses it is done again with the wrong number, so that only the planted step is wrong in itself. The
marks are stripped.

Status: ours. Degenerate: a solution without marks has nowhere to plant; a change that leaves all later lines as they
were is an error nevertheless. Cost: microseconds.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.ids import digest, seed_of
from apportion.pipeline.faults.faults import moved
from apportion.pipeline.tools.calculator import CalculationError, evaluate
from apportion.pipeline.trajectory.case import Case, Label, Step

SOLVER = "solver"
_MARK = re.compile(r"<<([^<>=]+)=([^<>]*)>>")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?")
_TRIES = 8
_OTHER = {"+": "-", "-": "+", "*": "+", "/": "*"}


def sound(question: str, solution: str) -> Case:
    """A GSM8K solution as a case in which no step is wrong."""
    body, _, reference = solution.partition("####")
    texts = [_MARK.sub("", line).strip() for line in body.strip().splitlines()]
    return _case(question, [text for text in texts if text], reference.strip(), "sound")


def planted(question: str, solution: str, number: int = 0, seed: int = 0) -> Case | None:
    """The solution with one wrong calculation; `number` counts the variants. None where nothing can be changed."""
    body, _, reference = solution.partition("####")
    lines = [line for line in body.strip().splitlines() if _MARK.sub("", line).strip()]
    places = [i for i, line in enumerate(lines) if _MARK.search(line)]
    if not places:
        return None
    lot = random.Random(seed_of(seed, "planted", question, number))
    for _ in range(_TRIES):
        step = lot.choice(places)
        texts = _with_error(lines, step, lot)
        if texts is not None:
            case = _case(question, texts, reference.strip(), f"planted {number}")
            return replace(case, label=Label(step, SOLVER), sound=False)
    return None


def examples(file: Path, count: int) -> list[Case]:
    """Of the first `count` solutions of a JSONL file of GSM8K (`question`, `answer`) in which an error can be planted
    and that have more than two lines: each as it is, and once with an error. Raises UserError for another file."""
    made: list[Case] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            question, answer = str(row["question"]), str(row["answer"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f'{file}:{number}: not {{"question", "answer"}} as GSM8K has it') from error
        wrong = planted(question, answer)
        if wrong is not None and len(wrong.steps) > 2:
            made += [sound(question, answer), wrong]
        if len(made) >= 2 * count:
            break
    return made


def _with_error(lines: list[str], step: int, lot: random.Random) -> list[str] | None:
    """The lines with one calculation of line `step` wrong and all later ones done again; None where one cannot be."""
    mark = lot.choice(list(_MARK.finditer(lines[step])))
    wrong = _wrong(mark, lot)
    if wrong is None:
        return None
    changed = {mark[2].strip(): wrong}
    texts = [_MARK.sub("", line).strip() for line in lines[:step]]
    texts.append(_MARK.sub("", _put(lines[step], mark, wrong)).strip())
    for line in lines[step + 1 :]:
        again = _again(line, changed)
        if again is None:
            return None
        texts.append(again)
    return texts


def _again(line: str, changed: dict[str, str]) -> str | None:
    """The line with every changed number in the place of its old one, and its calculations done again."""
    for mark in _MARK.finditer(line):
        expression = _swap(mark[1], changed)
        if expression != mark[1]:
            value = _value(expression)
            if value is None:
                return None
            if value != mark[2].strip():
                changed[mark[2].strip()] = value
    return _swap(_MARK.sub("", line), changed).strip()


def _swap(text: str, changed: dict[str, str]) -> str:
    return _NUMBER.sub(lambda m: changed.get(m.group(), changed.get(m.group().replace(",", ""), m.group())), text)


def _put(line: str, mark: re.Match[str], wrong: str) -> str:
    """The line with the result of `mark` changed where it is said and repeated after."""
    old = mark[2].strip()
    return line[: mark.start()] + _swap(_MARK.sub("", line[mark.end() :]), {old: wrong})


def _wrong(mark: re.Match[str], lot: random.Random) -> str | None:
    old = mark[2].strip()
    if not _NUMBER.fullmatch(old):
        return None
    signs = [m.start() for m in re.finditer(r"(?<=[\d)])\s*[-+*/]", mark[1])]
    if signs and lot.random() < 0.5:
        at = lot.choice(signs)
        sign = mark[1][at:].lstrip()[0]
        place = mark[1].index(sign, at)
        other = _value(mark[1][:place] + _OTHER[sign] + mark[1][place + 1 :])
        if other not in (None, old):
            return other
    return moved(old, lot)


def _value(expression: str) -> str | None:
    """The value as GSM8K would write it; None where there is none or it is negative."""
    try:
        value = float(evaluate(expression))
    except (CalculationError, OverflowError, ValueError):
        return None
    if not 0 <= value < 1e9:
        return None
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return text or "0"


def _case(question: str, texts: list[str], reference: str, kind: str) -> Case:
    steps = tuple(Step(i, SOLVER, "assistant", None, text) for i, text in enumerate(texts))
    identity = "s" + digest([question, texts, kind])
    return Case(identity, question, reference or None, None, steps, "gsm8k planted", sound=kind == "sound")
