"""Stage: labelled logs -> figures of every localizer, on failures or on solutions. Nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from apportion.pipeline.core.config import Config
from apportion.pipeline.core.dry_run import is_dry
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.progress import watcher
from apportion.pipeline.core.registry import family
from apportion.pipeline.engines.policy import policies_of
from apportion.pipeline.evaluation.folds import cross_validate, folds_by_question, unlabelled
from apportion.pipeline.evaluation.labelled import Annotator
from apportion.pipeline.evaluation.report import BASELINE, Judged, Report, report_on_logs, report_on_solutions
from apportion.pipeline.evaluation.worth import WORTH
from apportion.pipeline.localizers.base import Localizer, Means, Needs, Verdict, label, make
from apportion.pipeline.trajectory.case import Case, labelled_place

ON_LOGS = (
    "random", "constant_step_from_start", "constant_step_from_end", "constant_agent", "first_speaker", "last_speaker",
    "most_talkative_speaker", BASELINE, "learned",
)  # fmt: skip
"""What is held against labelled failures where nothing is named: all that asks no model, floors first."""
ON_SOLUTIONS = ("random", BASELINE)
"""The same on solutions."""


@dataclass(frozen=True)
class Choices:
    """How to evaluate. `names`: the localizers that are asked for; none: `ON_LOGS` or `ON_SOLUTIONS`."""

    names: tuple[str, ...] = ()
    cross_validate: bool = False
    folds: int = 10
    without_reference: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Evaluation:
    """What is held against what: `kept` of the labelled `cases` make the figures, all are trained on.

    `sound`: the cases are solutions, in which no step may be wrong.
    """

    config: Config
    choices: Choices
    sound: bool
    cases: tuple[Case, ...]
    kept: NDArray[np.bool_]
    localizers: dict[str, Localizer]
    notes: tuple[str, ...]

    @property
    def means(self) -> Means:
        """What localizers get. Logs in a file cannot be continued."""
        config = self.config
        return Means(
            policies_of(config).team.engine, None, config.annotate.cue,
            config.model.max_model_len, self.choices.seed, self.sound,
        )  # fmt: skip

    @property
    def asks_scorer(self) -> bool:
        """Whether a model is asked."""
        return any(one.needs is Needs.SCORER for one in self.localizers.values())


def plan(
    config: Config,
    cases: Sequence[Case],
    choices: Choices,
    *,
    sound: bool = False,
    held_to: Annotator | None = None,
) -> Evaluation:
    """The labelled cases, and the localizers in order, always with the baseline.

    A localizer that comes with weights is judged on questions that these have not seen; the others, and all with
    `cross_validate`, are trained on the cases of other questions, by folds. All figures are on the same cases.
    `held_to`: whose labels count, instead of the cases' own. Raises UserError where nothing is left.
    """
    known = [case for case in cases if labelled_place(case) is not None or (sound and case.sound)]
    what = "solutions" if sound else "logs"
    notes = [] if len(known) == len(cases) else [f"{len(cases) - len(known)} {what} have no label: left out"]
    localizers = _chosen(config, choices.names, ON_SOLUTIONS if sound else ON_LOGS)
    kept = _unseen(localizers, known, choices, notes)
    if held_to is not None:
        kept &= np.array([case.case_id in held_to.labels for case in known])
        if not kept.any():
            raise UserError(f"none of the {len(known)} logs has a label of the {held_to.name}")
    folds_by_question(known, choices.folds, choices.seed)
    shown = tuple(case.without_reference() if choices.without_reference else case for case in known)
    return Evaluation(config, choices, sound, shown, kept, localizers, tuple(notes))


def foretell(planned: Evaluation) -> list[str]:
    """Lines on what would be held against what."""
    own = [name for name in planned.choices.names if family("localizers").is_own(name)]
    names = [*planned.localizers, *own]
    unread = [f"a dry run does not import {name}: whether it can be made is not known" for name in own]
    would = f"would hold {int(planned.kept.sum())} logs against {len(names)} localizers: {', '.join(names)}"
    return [*planned.notes, *unread, would]


def evaluate(planned: Evaluation, *, held_to: Annotator | None = None, annotator: Annotator | None = None) -> Report:
    """Figures of every localizer on the planned cases; of another annotator last.

    `held_to`: whose labels the figures count by; training uses the cases' own.
    Cost: what the localizers cost; folds x training for those that learn.
    """
    asked = [case for case, keep in zip(planned.cases, planned.kept, strict=True) if keep]
    if held_to is not None:
        asked = [replace(case, label=held_to.labels[case.case_id]) for case in asked]
    notes = list(planned.notes)
    if not planned.sound:
        known = [name for name in planned.localizers if name in WORTH]
        notes += [f"what {name} is worth on logs of others: {WORTH[name]}" for name in known]
    judged, refused = [], []
    for name, localizer, verdicts in _judged(planned):
        refused += [
            f"{name}: log {case.case_id} is left unjudged: {verdict.refused}"
            for case, verdict in zip(planned.cases, verdicts, strict=True)
            if verdict.refused is not None
        ]
        inside = [verdict for verdict, keep in zip(verdicts, planned.kept, strict=True) if keep]
        judged.append(Judged(name, inside, partial(localizer.cut_share, means=planned.means)))
    seed = planned.choices.seed
    report = (
        report_on_solutions(asked, judged, seed) if planned.sound else report_on_logs(asked, judged, annotator, seed)
    )
    return replace(report, notes=[*notes, *dict.fromkeys(refused)])


def _chosen(config: Config, names: Sequence[str], default: Sequence[str]) -> dict[str, Localizer]:
    """By the name of the row: those asked for, in the order of `default`, then others as they were named."""
    methods = replace(family("localizers"), key="--localizer")
    asked = dict.fromkeys(name if methods.is_own(methods.check(name)) else label(name) for name in names)
    wanted = asked or dict.fromkeys(default)
    order = [name for name in default if name in wanted or name == BASELINE]
    order += [name for name in wanted if name not in default]
    if is_dry():  # which imports no code of the user's own
        order = [name for name in order if not methods.is_own(name)]
    made = {name: make(name, config.failures.parameters(name), "--localizer") for name in order}
    for name, one in made.items():
        if one.needs is Needs.CONTINUATIONS:
            raise UserError(
                f"--localizer {name}: it continues recorded runs from every step, and logs in a file cannot be "
                f"continued; ask it about a run that was sampled here (apportion annotate, failures.localizer={name})"
            )
    return {one.title or label(name): one for name, one in made.items()}


def _unseen(
    localizers: dict[str, Localizer], cases: Sequence[Case], choices: Choices, notes: list[str]
) -> NDArray[np.bool_]:
    """Which cases no shipped weights have seen; a line about the others goes to `notes`."""
    if choices.cross_validate:
        return np.ones(len(cases), dtype=bool)
    shipped = {name: one.trained_on for name, one in localizers.items() if one.trained_on is not None}
    seen = frozenset().union(*shipped.values()) if shipped else frozenset()
    kept = np.array([case.question_id not in seen for case in cases], dtype=bool)
    if kept.all():
        return kept
    who = ", ".join(name for name, questions in shipped.items() if questions)
    told = f"{int((~kept).sum())} of {len(cases)} logs ask questions that shipped weights were trained on ({who})"
    if not kept.any():
        raise UserError(f"{told}, so nothing is left to evaluate on; --cross-validate trains anew without each fold")
    notes.append(f"{told}: they are left out; --cross-validate trains anew and uses all")
    return kept


def _judged(planned: Evaluation) -> Iterator[tuple[str, Localizer, Sequence[Verdict]]]:
    """Each localizer with its verdicts on all cases."""
    choices, cases, means = planned.choices, planned.cases, planned.means
    done = watcher().start("localizers", len(planned.localizers))
    folds = folds_by_question(cases, choices.folds, choices.seed)
    for name, one in planned.localizers.items():
        if one.trained_on is not None and not choices.cross_validate:
            yield name, one, one.judge([unlabelled(case) for case in cases], means)
        else:
            yield name, one, cross_validate(one, cases, folds, means)
        done(1)
