"""The checkers of solutions by name, each made of the process scores that it reads.

Model, tokenizer and window are the configuration's; nothing is loaded before a case is judged or learned from. What one
family has measured of a solution, the next one takes over.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config import Config
from pipeline.localize.base import Localizer
from pipeline.localize.case import Case
from pipeline.localize.judge import GenerativeJudge
from pipeline.localize.process import arithmetic, value_drop
from pipeline.localize.process.ranked import Floats, ProcessChecker, Signals
from pipeline.localize.process.reading import Reader, Reading
from pipeline.localize.structure import structure


def families(config: Config) -> list[Localizer]:
    """Cheap ones first; from value_drop on they need the model, and run when they are asked for by name."""
    outline = Signals(lambda cases: {case.case_id: structure(case)[1] for case in cases})
    sums = Signals(lambda cases: {case.case_id: arithmetic.arithmetic(case) for case in cases})
    value = Signals(lambda cases: _values(config, cases))
    readings = _Readings(config)
    surprise = Signals(lambda cases: {name: one.surprise for name, one in readings.of(cases).items()})
    states = Signals(lambda cases: {name: one.states for name, one in readings.of(cases).items()})
    return [
        ProcessChecker("arithmetic", (sums,)),
        ProcessChecker("structure and arithmetic", (outline, sums)),
        ProcessChecker("value_drop", (value,), slow=True),
        ProcessChecker("surprise", (surprise,), slow=True),
        ProcessChecker("trained", (), states, slow=True),
        ProcessChecker("ranked", (outline, sums, value, surprise), slow=True),
        ProcessChecker("ranked with trained", (outline, sums, value, surprise), states, slow=True),
        judge(config, none=True),
    ]


def judge(config: Config, *, none: bool) -> GenerativeJudge:
    """The configured model as judge."""
    from pipeline.stages.common import engine_for

    return GenerativeJudge(lambda: engine_for(config.model, config.data_root), none)


def _values(config: Config, cases: Sequence[Case]) -> dict[str, Floats]:
    from pipeline.stages.common import engine_for, watcher

    done = watcher().start("answers after every step", sum(len(case.steps) + 1 for case in cases))
    return value_drop.value_drop(cases, engine_for(config.model, config.data_root), done)


class _Readings:
    """Each case read once, whoever asks."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._reader: Reader | None = None
        self._known: dict[str, Reading] = {}

    def of(self, cases: Sequence[Case]) -> dict[str, Reading]:
        """The readings of some cases."""
        from pipeline.models import resolve_model
        from pipeline.stages.common import watcher

        fresh = [case for case in cases if case.case_id not in self._known]
        if fresh:
            model = self._config.model
            if self._reader is None:
                self._reader = Reader(resolve_model(model.path, data_root=self._config.data_root, hub=model.hub))
            self._known |= self._reader.read(fresh, watcher().start("solutions read", len(fresh)))
        return {case.case_id: self._known[case.case_id] for case in cases}
