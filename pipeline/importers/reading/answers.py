"""What the last message of a log states as the answer, and what is only the sign that the talk is over."""

from __future__ import annotations

import re

_FINAL_ANSWER = re.compile(r"^[\s*#>_]*final answer\b[\s*_]*:[ \t]*(?P<answer>.*\S)[ \t]*$", re.I | re.M)
_THOUGHT = re.compile(r"<(think|thinking)>.*?(?:</\1>|\Z)", re.S | re.I)
_THOUGHT_END = re.compile(r"</(?:think|thinking)>", re.I)

_PLAIN = (
    r"TERMINATED?|(?:(?:CAMEL|THE)[ _-])?TASK[ _-](?:(?:IS|WAS|HAS BEEN)[ _-])?(?:COMPLETED?|DONE|FINISHED)|"
    r"(?:END|TERMINATE)[ _-](?:OF[ _-])?(?:CONVERSATION|CHAT|DISCUSSION)|"
    r"(?:CONVERSATION|CHAT)[ _-](?:ENDED|COMPLETED?|OVER|TERMINATED)"
)
_SHORT = r"DONE|FINISH(?:ED)?|STOP|END|EXIT|COMPLETED?"
_FRAME = r"[\W_]*"
_WHOLE = re.compile(rf"{_FRAME}(?:(?:{_PLAIN}){_FRAME})+", re.I)
_WHOLE_SHORT = re.compile(rf"{_FRAME}(?:{_SHORT}){_FRAME}")  # in capitals only: "stop" may well be an answer
_FAREWELL = re.compile(rf"{_FRAME}(?:{_SHORT}|QUIT|BYE|GOODBYE){_FRAME}", re.I)
_POLITE = (
    r"QUIT|BYE|GOODBYE|THANKS|THANK YOU|(?:YOU ARE|YOU'RE) WELCOME|OK|OKAY|(?:I )?AGREED?|APPROVED?|CORRECT|CONFIRMED|"
    r"VERIFIED|NICE|PERFECT|EXCELLENT|WELL DONE|(?:GREAT|GOOD)(?: JOB| WORK)?|TEAM|(?:SO|VERY) MUCH"
)
_COURTESY = re.compile(rf"{_FRAME}(?:(?:{_PLAIN}|{_SHORT}|{_POLITE})(?!\w){_FRAME})+", re.I)
_TRAILING = re.compile(r"(?<![\w-])[*_`'\"<\[(#]*(?:TERMINATE|(?:CAMEL_)?TASK_(?:COMPLETED?|DONE))[*_`'\">\])#.!\s]*\Z")


def is_sign_off(text: str) -> bool:
    """Does `text` say nothing but that the talk is over: TERMINATE and its relatives, with whatever marks around it?"""
    return bool(_WHOLE.fullmatch(text) or _WHOLE_SHORT.fullmatch(text))


def is_farewell(text: str) -> bool:
    """Does a user's message say nothing but that the talk is over? Nobody looks for an answer there: "exit" will do."""
    return is_sign_off(text) or bool(_FAREWELL.fullmatch(text))


def is_closing(text: str) -> bool:
    """Does `text` add nothing to an answer that was marked before: a courtesy, an approval, or any words that end with
    a sign-off and mark no answer of their own?"""
    if _FINAL_ANSWER.search(text):
        return False
    return bool(_COURTESY.fullmatch(text)) or without_sign_off(text) != text.rstrip()


def without_sign_off(text: str) -> str:
    """`text` without the sign-off at its end, be it a line of its own or the last word of one."""
    lines = text.rstrip().split("\n")
    while lines and (not lines[-1].strip() or _WHOLE.fullmatch(lines[-1])):
        lines.pop()
    return _TRAILING.sub("", "\n".join(lines)).rstrip()


def without_thoughts(text: str) -> str:
    """`text` without what stands between <think> and </think>; many chat templates write the first one themselves."""
    if "<" not in text:
        return text
    return _THOUGHT_END.split(_THOUGHT.sub("", text))[-1]


def marked_answer(text: str) -> str | None:
    """What follows the last line-leading "FINAL ANSWER:" (any case, Markdown stars dropped), up to the end of
    its line, less a sign-off; None where there is no such line."""
    found = [match["answer"].strip().strip("*_").strip() for match in _FINAL_ANSWER.finditer(text)]
    return without_sign_off(found[-1]) or None if found else None


def stated_answer(text: str) -> str | None:
    """The answer that a last message gives: what it marks as final, else all that it says before a sign-off."""
    return marked_answer(text) or without_sign_off(text).strip() or None
