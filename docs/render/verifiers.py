"""Renders docs/verifiers.md, what is accepted and refused (`python -m docs.render.verifiers`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from apportion.pipeline.core.registry import family
from docs.render.methods import described
from docs.render.verifier_cases import CASES, Case

DOC = Path(__file__).parents[1] / "verifiers.md"

_HEAD = """# Verifiers

A verifier judges an answer against the references of its task, of which matching any one is enough. `tasks.verifier`
names it, `tasks.verifier_options` holds its parameters:

```console
$ apportion sample --set tasks.path=YOUR.jsonl --set tasks.verifier=number --set tasks.verifier_options.relative=0.001
```

Nothing can hang: `number` and `exact` take no longer for 10^10^10 than for 7.

Every line below is a test of this project (`pipeline/verifiers/answers/cases.py`).
"""


def document() -> str:
    """The page."""
    parts = [_HEAD]
    for verifier in dict.fromkeys(case.verifier for case in CASES):
        parts += [f"## {verifier}", "", *described(family("verifiers"), verifier)]
        parts += _table([case for case in CASES if case.verifier == verifier])
    return "\n".join(parts).rstrip() + "\n"


def _table(cases: list[Case]) -> Iterator[str]:
    with_options = any(case.options for case in cases)
    options = (" settings |", "---|") if with_options else ("", "")
    yield f"| answer | reference |{options[0]} verdict | because |"
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
