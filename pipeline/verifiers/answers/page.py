"""Renders docs/verifiers.md, what each verifier accepts and refuses (`python -m apportion.pipeline.verifiers.answers.page`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from apportion.pipeline.verifiers.answers.cases import CASES, Case

DOC = Path(__file__).absolute().parents[4] / "docs" / "verifiers.md"

_SETTINGS = (
    ("`exact`", "the whole answer, normalized", ""),
    (
        "`f1`",
        "the share of words that answer and reference have in common",
        "`threshold` above 0, at most 1 (0.5): from there on it is a success",
    ),
    (
        "`number`",
        "the quantity that ends the answer, or stands in its last `\\boxed{}` or behind its last `####`",
        "`relative` from 0 to 1, a share of the reference; `absolute` from 0 to 1e15, in its unit; one is enough",
    ),
    (
        "`math`",
        "mathematics, by math-verify and sympy",
        "`cpu_seconds` from 0.1 to 600 (10): an answer that takes longer is wrong",
    ),
)
_HEAD = """# Verifiers

A verifier judges an answer against the references of its task, of which matching any one is enough. `tasks.verifier`
names it, `tasks.verifier_options` holds its settings:

```console
$ apportion sample --set tasks.path=YOUR.jsonl --set tasks.verifier=number --set tasks.verifier_options.relative=0.001
```

{settings}
Without a tolerance, `number` compares whole numbers exactly and others within a relative 1e-6; a tolerance that you set
holds for whole numbers too. Nothing can hang: `number` and `exact` take no longer for 10^10^10 than for 7.

Every line below is a test of this project (`pipeline/verifiers/cases.py`).
"""


def document() -> str:
    """The page."""
    lines = ["| verifier | judges | settings |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in _SETTINGS]
    parts = [_HEAD.replace("{settings}", "\n".join([*lines, ""]))]
    for verifier in dict.fromkeys(case.verifier for case in CASES):
        parts += _table(verifier, [case for case in CASES if case.verifier == verifier])
    return "\n".join(parts).rstrip() + "\n"


def _table(verifier: str, cases: list[Case]) -> Iterator[str]:
    with_options = any(case.options for case in cases)
    options = (" settings |", "---|") if with_options else ("", "")
    yield from (f"## {verifier}", "", f"| answer | reference |{options[0]} verdict | because |")
    yield f"|---|---|{options[1]}---|---|"
    for case in cases:
        said = ", ".join(f"{name}={value}" for name, value in case.options.items())
        settings = f" {said} |" if with_options else ""
        verdict = "right" if case.right else "wrong"
        yield f"| {_code(case.answer)} | {_code(case.reference)} |{settings} {verdict} | {case.why} |"
    yield ""


def _code(text: str) -> str:
    """`text` as code in a cell of a table."""
    shown = text.replace("\n", " ⏎ ").replace("|", "\\|")
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`" if shown.strip() else "(nothing)"


if __name__ == "__main__":
    DOC.write_text(document(), encoding="utf-8")
