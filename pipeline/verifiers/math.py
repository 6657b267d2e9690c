"""Symbolic equality by math-verify, in a child process that can be stopped.

math-verify's own time-out is a signal, which works in the main thread only, so it is switched off; without
one an answer such as 9^{9^9} would hang the pipeline, and a thread cannot be stopped. The child bounds its
own CPU time and memory; the kernel ends it when it runs over, even inside a long integer power.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field, PrivateAttr

from apportion.pipeline.core.errors import WorkError
from apportion.pipeline.verifiers.base import Verdict, Verifier, binary

ANSWER_TAIL = 4000
"""Characters of an answer that are read, counted from its end, where the final expression stands."""

MEMORY_BYTES = 4 * 2**30
"""Address space of the child."""

_DELIMITED = re.compile(r"\$|\\\(|\\\[|\\boxed|\\begin")
_COMMAND = re.compile(r"\\[A-Za-z]+|\b(?:sin|cos|tan|log|ln|exp|sqrt|pi)\b")


def equal(answer: str, references: Sequence[str]) -> bool:
    """Whether math-verify finds `answer` equal to any reference; it may take forever: for the child only."""
    from math_verify import parse, verify

    said = parse(_as_latex(answer), parsing_timeout=None)
    for reference in references:
        if answer.strip() and answer.strip() == reference.strip():
            return True
        if verify(parse(_as_latex(reference), parsing_timeout=None), said, timeout_seconds=None):
            return True
    return False


def _as_latex(text: str) -> str:
    """`text` in dollar signs if it is a bare expression: math-verify would read a bare 2\\sqrt{3} as 2."""
    bare = text.strip().removesuffix(".")
    is_expression = not _DELIMITED.search(bare) and not re.search(r"[A-Za-z]{2}", _COMMAND.sub("", bare))
    return f"${bare}$" if bare and is_expression else text


def serve(cpu_seconds: float) -> None:
    """The child: one JSON line [answer, references] in, one line "1" or "0" out, until its input ends."""
    import logging
    import resource

    import math_verify  # noqa: F401  (paid for before the first clock starts)

    logging.disable(logging.WARNING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("ready", flush=True)
    for line in sys.stdin:
        answer, references = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        verdict = equal(answer, references)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print("1" if verdict else "0", flush=True)


class Math(Verifier):
    """outcome = 1 if math-verify (HuggingFace, with sympy) finds the answer equal to any reference, else 0.

    Cost: about a second for the first verdict, then milliseconds. Degenerate cases: an answer that takes
    more than `cpu_seconds` of processor time or 4 GiB is wrong; words that are no mathematics match as
    equal text only.
    Status: source (github.com/huggingface/Math-Verify); run in a child process, since its own time-out works in the
    main thread only.
    """

    name: ClassVar[str] = "math"

    cpu_seconds: float = Field(10.0, ge=0.1, le=600, strict=True)
    """An answer that takes longer is wrong (seconds of processor time)."""
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    _child: subprocess.Popen[str] | None = None
    _owner: int = 0

    def verify(self, answer: str, references: Sequence[str]) -> Verdict:
        """The verdict on the last expression of `answer`. Raises WorkError when the child does not start."""
        request = json.dumps([answer[-ANSWER_TAIL:], list(references)])
        with self._lock:
            child = self._running_child()
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                child.stdin.write(request + "\n")
                child.stdin.flush()
                reply = child.stdout.readline().strip()
            except BrokenPipeError:
                reply = ""
            if reply not in {"0", "1"}:
                code = self._stop()
                # A signal means that the answer ran over its limits; any other end is a defect to be seen.
                if code >= 0:
                    raise WorkError(f"the math verifier's process ended with code {code}; its message stands above")
            return binary(reply == "1")

    def close(self) -> None:
        """End the child; the next `verify` starts a new one."""
        with self._lock:
            if self._child is not None:
                self._stop()

    def _running_child(self) -> subprocess.Popen[str]:
        # After a fork two processes would talk through one pipe: each needs its own child.
        if self._child is not None and self._owner == os.getpid():
            return self._child
        root = str(Path(__file__).absolute().parents[3])
        path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
        code = f"from apportion.pipeline.verifiers.math import serve; serve({self.cpu_seconds!r})"
        self._child = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path},
        )
        self._owner = os.getpid()
        assert self._child.stdout is not None
        if self._child.stdout.readline().strip() != "ready":
            code_ended = self._stop()
            raise WorkError(f"the math verifier's process did not start (code {code_ended}); is math-verify installed?")
        return self._child

    def _stop(self) -> int:
        child, self._child = self._child, None
        assert child is not None
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        return child.wait()
