"""Checkers of solutions that ask no model, to be named by path in `apportion evaluate process-bench`.

apportion evaluate process-bench FOLDER -l research.process_scorers.named:StructureAndArithmetic
"""

from __future__ import annotations

from apportion.pipeline.localizers.base import Means
from apportion.pipeline.localizers.signals.outline import STRUCTURE
from research.process_scorers.arithmetic import arithmetic
from research.process_scorers.ranked import ProcessChecker, Signals

OUTLINE = Signals(lambda cases: {case.case_id: STRUCTURE.read(case) for case in cases})
SUMS = Signals(lambda cases: {case.case_id: arithmetic(case) for case in cases})


class Arithmetic(ProcessChecker):
    """Do the equations hold, and do the numbers come from somewhere?"""

    def signals(self, means: Means) -> tuple[Signals, ...]:
        return (SUMS,)


class StructureAndArithmetic(ProcessChecker):
    """The same, and the outline."""

    def signals(self, means: Means) -> tuple[Signals, ...]:
        return OUTLINE, SUMS
