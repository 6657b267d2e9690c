"""How a record says that its run ended: the right answer, the outcome, success; and where it contradicts itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.importers.notes import Remark
from pipeline.importers.text import BadRecordError, brief, load_json

REFERENCES = (
    "references", "ground_truth", "reference", "ground_truths", "target", "targets", "expected_answer", "expected",
    "gold", "gold_answer", "gold_label", "golden_answers", "reference_answer", "correct_answer", "true_answer", "truth",
    "answers", "reward_model",
)  # fmt: skip
OWN = "answer"
"""The right answer where nothing else is there to be it; beside one of `REFERENCES` the answer that was given."""
OUTCOMES = ("outcome", "reward")
SUCCESSES = ("success", "is_success", "successful", "is_correct", "correct", "passed", "solved", "resolved")
SCORES = "scores"

_PERHAPS = ("label", "solution", "correct", "final_answer")
"""Texts beside a lone `answer` that may as well be the right one."""
_INSIDE = ("ground_truth", "target", "value", "text", "answer", "answers")
"""Where an object holds the answer, as in {"target": ["1871"]}."""
_TRUTH = {True: ["yes", "true"], False: ["no", "false"]}
"""A boolean as a model would write it."""
_ALWAYS = {"references", "ground_truth", "target"}
"""Keys whose value must be an answer; the others are read where it is one."""
_TRUE = {
    "true",
    "yes",
    "success",
    "successful",
    "succeeded",
    "correct",
    "pass",
    "passed",
    "solved",
    "resolved",
    "1",
    "1.0",
}
_FALSE = {
    "false", "no", "failure", "fail", "failed", "unsuccessful", "incorrect", "wrong", "unsolved", "unresolved", "0",
    "0.0",
}  # fmt: skip
_CONTRARY = "set aside, since reward and success contradict each other"
_RESCALED = "rewards outside [0, 1] stand in `labels`, and the outcome is 1 or 0 as `success` says"


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
    found = {key: texts for key in REFERENCES if (texts := _texts(fields, key, strict=key in _ALWAYS))}
    own = _texts(fields, OWN, strict=not found) or []
    if not found:
        for key in _PERHAPS if own else ():
            other = fields.get(key)
            if isinstance(other, str) and other.strip() and _verdict(other) is None and other.strip() not in own:
                raise _ambiguous(OWN, own, key, [other.strip()])
        return Key(tuple(own), None, (OWN,) if own else (), sole=bool(own))
    first, *rest = found
    for key in rest:
        if {text.casefold() for text in found[first]}.isdisjoint(text.casefold() for text in found[key]):
            raise _ambiguous(first, found[first], key, found[key])
    merged = dict.fromkeys(text for texts in found.values() for text in texts)
    return Key(tuple(merged), own[0] if len(own) == 1 else None, (*found, *((OWN,) if own else ())))


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
    rewards = {key: _number(key, fields[key]) for key in OUTCOMES if fields.get(key) is not None}
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


def _texts(fields: Mapping[str, Any], key: str, *, strict: bool) -> list[str] | None:
    """A value as answers; None where it is missing, or where it is none and the key need not hold one."""
    value = fields.get(key)
    if value is None:
        return None
    if isinstance(value, dict):
        value = next((value[inner] for inner in _INSIDE if value.get(inner) is not None), value)
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _listed(value)
    values = [
        text for one in (value if isinstance(value, list) else [value])
        for text in (_TRUTH[one] if isinstance(one, bool) else [one])
    ]  # fmt: skip
    if any(not isinstance(one, str | int | float) for one in values):
        if strict:
            raise BadRecordError(f"`{key}` holds something that is neither text nor a number; write it as text")
        return None
    # 4.0 and 4 are one reference, as in task files.
    plain = (int(one) if isinstance(one, float) and one.is_integer() else one for one in values)
    return list(dict.fromkeys(text for one in plain if (text := str(one).strip())))


def _listed(text: str) -> Any:
    """A list that a column holds as JSON text; the text itself where it is something else in brackets."""
    try:
        value = load_json(text)
    except BadRecordError:
        return text
    return value if isinstance(value, list) and value and all(isinstance(one, str) for one in value) else text


def _some(texts: Sequence[str]) -> str:
    return repr(brief(texts[0])) + (f" or {len(texts) - 1} more" if len(texts) > 1 else "")


def _success(fields: Mapping[str, Any]) -> tuple[bool | None, tuple[str, ...]]:
    verdicts: dict[str, bool] = {}
    for key in SUCCESSES:
        value = fields.get(key)
        if value is None or (isinstance(value, float) and math.isnan(value)):
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


def _number(key: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRecordError(f"`{key}` is no number in [0, 1]: {brief(value)}") from error
