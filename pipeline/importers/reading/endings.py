"""How a record says that its run ended: the right answer, the outcome, success; and where it contradicts itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apportion.pipeline.importers.reading.notes import Remark
from apportion.pipeline.importers.reading.text import BadRecordError, brief, holds
from apportion.pipeline.trajectory.columns import ALIAS_COLUMNS, REFERENCE_COLUMNS, BadRowError, cell
from apportion.pipeline.trajectory.references import references_in

REFERENCES = (
    "references", "ground_truth", "reference", "ground_truths", "target", "targets", "expected_answer", "expected",
    "gold", "gold_answer", "gold_label", "golden_answers", "reference_answer", "correct_answer", "true_answer", "truth",
    "answers", "reward_model",
)  # fmt: skip
OWN = "answer"
"""The right answer where nothing else is there to be it; beside a reference the answer that was given."""
OUTCOMES = ("outcome", "reward")
SUCCESSES = (
    "success", "is_success", "successful", "is_successful", "succeeded", "task_success", "is_correct", "correct",
    "passed", "solved", "is_solved", "resolved", "is_resolved",
)  # fmt: skip
SCORES = "scores"

_PERHAPS = ("label", "solution", "correct", "final_answer", "expected_output")
"""Texts beside a lone `answer` that may as well be the right one."""
_OTHERS = tuple(
    name for name in REFERENCE_COLUMNS if name not in (*REFERENCES, *_PERHAPS, OWN, "labels", "metadata.answer")
)
"""Further names that task files use, asked where none of `REFERENCES` is there; those one level down come last."""
_NAMES = tuple(name for name in _OTHERS if "." not in name)
_DOTTED = (*(name for name in _OTHERS if "." in name), "metadata.target")
_ALWAYS = {"references", "ground_truth", "target"}
"""Keys whose value must be an answer; the others are read where it is one."""
_TRUE = {
    "true", "t", "yes", "y", "success", "successful", "succeeded", "correct", "pass", "passed", "solved", "resolved",
    "1", "1.0",
}  # fmt: skip
_FALSE = {
    "false", "f", "no", "n", "failure", "fail", "failed", "unsuccessful", "incorrect", "wrong", "unsolved",
    "unresolved", "0", "0.0",
}  # fmt: skip
_CONTRARY = "set aside, since reward and success contradict each other"
_RESCALED = "rewards outside [0, 1] stand in `labels`, and the outcome is 1 or 0 as `success` says"


KEYS = (*REFERENCES, *_NAMES, *_PERHAPS, *ALIAS_COLUMNS, OWN, *OUTCOMES, *SUCCESSES, SCORES)
"""Every key that is asked for here."""


@dataclass(frozen=True)
class Ending:
    """Outcome in [0, 1], success, the keys that told them, and a reward on another scale."""

    outcome: float | None = None
    success: bool | None = None
    used: tuple[str, ...] = ()
    raw_reward: float | None = None
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Key:
    """The right answers as texts, the answer that the record says was given, and the keys that told them."""

    references: tuple[str, ...] = ()
    own: str | None = None
    used: tuple[str, ...] = ()
    sole: bool = False
    """Whether `answer` alone is the reference."""


def answer_key(fields: Mapping[str, Any]) -> Key:
    """The references of a record, doubles and empty ones dropped; none where it does not tell.

    Raises BadRecordError for what is no answer, and where two keys name answers that have none in common.
    """
    found = next((held for names in (REFERENCES, _NAMES, _DOTTED) if (held := _held(fields, names))), {})
    own = _texts(fields, OWN) or []
    if not found:
        for key in _PERHAPS if own else ():
            other = fields.get(key)
            if isinstance(other, str) and other.strip() and _verdict(other) is None and other.strip() not in own:
                raise _ambiguous(OWN, own, key, [other.strip()])
        if holds(fields.get(OWN)) and not own:
            raise _unreadable(fields, OWN)
        more, used = _aliases(fields, own)
        return Key((*own, *more), None, (OWN, *used) if own else (), sole=bool(own))
    first, *rest = found
    for key in rest:
        if {text.casefold() for text in found[first]}.isdisjoint(text.casefold() for text in found[key]):
            raise _ambiguous(first, found[first], key, found[key])
    merged = dict.fromkeys(text for texts in found.values() for text in texts)
    more, used = _aliases(fields, [*merged])
    return Key((*merged, *more), own[0] if len(own) == 1 else None, (*found, *used, *((OWN,) if own else ())))


def _ambiguous(one: str, here: Sequence[str], other: str, there: Sequence[str]) -> BadRecordError:
    return BadRecordError(
        f"ambiguous: `{one}` is {_some(here)} and `{other}` is {_some(there)}; keep the right one as `target`",
        "set aside, since it is not clear which of two answers is the right one",
    )


def ending(fields: Mapping[str, Any]) -> Ending:
    """How the run ended. Where only one of outcome and success is given the other follows: success means outcome 1.

    Raises BadRecordError for values that are neither, and for an outcome and a success that exclude each other.
    """
    success, told = _success(fields)
    if success is None and (scored := _scored(fields.get(SCORES))) is not None:
        success, told = scored, (SCORES,)
    rewards = {key: _reward(key, fields[key]) for key in OUTCOMES if fields.get(key) is not None}
    if success is not None:
        rewards = {key: value for key, value in rewards.items() if not math.isnan(value)}
    if not rewards:
        return Ending(None if success is None else float(success), success, told)
    key, outcome = next(iter(rewards.items()))
    if len(set(rewards.values())) > 1:
        raise BadRecordError(
            f"ambiguous: {' and '.join(f'`{k}` is {v:g}' for k, v in rewards.items())}; keep one", _CONTRARY
        )
    used = (*rewards, *told)
    inside = 0 <= outcome <= 1
    if success is None:
        if not inside:
            raise BadRecordError(
                f"`{key}` is no number in [0, 1]: {outcome:g}; rescale it, or give `success`",
                "set aside, since the reward is outside [0, 1] and no `success` stands beside it",
            )
        return Ending(outcome, outcome == 1.0, used)
    if outcome <= 0 if success else outcome == 1:
        word = "true" if success else "false"
        raise BadRecordError(
            f"{key} {outcome:g} and success {word} contradict each other; keep the right one", _CONTRARY
        )
    if inside:
        return Ending(outcome, success, used)
    if not math.isfinite(outcome):
        raise BadRecordError(f"`{key}` is no number in [0, 1]: {outcome:g}; rescale it")
    return Ending(float(success), success, used, outcome, (Remark(_RESCALED),))


def _held(fields: Mapping[str, Any], names: Sequence[str]) -> dict[str, list[str]]:
    """The references under those of `names` that hold any. Raises BadRecordError for a value that must be one."""
    found = {}
    for name in names:
        texts = _texts(fields, name)
        if texts:
            found[name] = texts
        elif name in _ALWAYS and holds(fields.get(name)) and not _is_nan(fields[name]):
            raise _unreadable(fields, name)
    return found


def _texts(fields: Mapping[str, Any], name: str) -> list[str] | None:
    """A value as references, as task files are read; None where it is missing."""
    try:
        there = cell(fields, name)
    except BadRowError as error:
        raise BadRecordError(str(error)) from error
    return None if there is None else references_in(there[1], name)[0]


def _aliases(fields: Mapping[str, Any], references: Sequence[str]) -> tuple[list[str], list[str]]:
    """(further right answers that columns of aliases add, those columns)."""
    more: list[str] = []
    used = []
    for name in ALIAS_COLUMNS if references else ():
        texts = [] if name in (*REFERENCES, *_NAMES) else _texts(fields, name) or []
        more += [text for text in texts if text not in (*references, *more)]
        used += [name] if texts else []
    return more, used


def _unreadable(fields: Mapping[str, Any], name: str) -> BadRecordError:
    inside = references_in(fields[name], name)[1]
    keys = f" (its keys: {', '.join(map(brief, inside))})" if inside else ""
    return BadRecordError(f"`{name}` holds something that is no answer{keys}; write it as text, or as its `target`")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _some(texts: Sequence[str]) -> str:
    return repr(brief(texts[0])) + (f" or {len(texts) - 1} more" if len(texts) > 1 else "")


def _success(fields: Mapping[str, Any]) -> tuple[bool | None, tuple[str, ...]]:
    verdicts: dict[str, bool] = {}
    for key in SUCCESSES:
        value = fields.get(key)
        if value is None or _is_nan(value):
            continue
        verdict = _verdict(value)
        if verdict is not None:
            verdicts[key] = verdict
        elif key == SUCCESSES[0]:
            raise BadRecordError(
                f"`success` is neither true nor false: {brief(value)!r} (1, 0, yes, no and pass do too)"
            )
    if len(set(verdicts.values())) > 1:
        said = " and ".join(f"`{key}` is {str(value).lower()}" for key, value in verdicts.items())
        raise BadRecordError(f"{said}: they contradict each other; keep the right one", _CONTRARY)
    return next(iter(verdicts.values()), None), tuple(verdicts)


def _verdict(value: Any) -> bool | None:
    word = str(value).strip().lower() if isinstance(value, bool | int | float | str) else ""
    return True if word in _TRUE else False if word in _FALSE else None


def _scored(scores: Any) -> bool | None:
    """Success by the scorers of an Inspect sample, "C" or "I", where they agree."""
    if not isinstance(scores, dict) or not scores:
        return None
    values = [one.get("value") if isinstance(one, dict) else one for one in scores.values()]
    verdicts = {{"C": True, "I": False}.get(value) if isinstance(value, str) else _verdict(value) for value in values}
    return verdicts.pop() if len(verdicts) == 1 else None


def _reward(key: str, value: Any) -> float:
    verdict = _verdict(value)
    if verdict is not None:  # "success" is one as well as 1
        return float(verdict)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRecordError(f"`{key}` is no number in [0, 1]: {brief(value)}") from error
