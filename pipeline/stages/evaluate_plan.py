"""What an evaluation would hold against what: the same checks as the evaluation, and nothing judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from apportion.pipeline.core.errors import UserError
from apportion.pipeline.engines.policy import policies_of
from apportion.pipeline.evaluation.folds import folds_by_question
from apportion.pipeline.localizers.base import Localizer
from apportion.pipeline.localizers.floors import labelled_place
from apportion.pipeline.localizers.load import Context, Slow, checkers, localizers
from apportion.pipeline.stages.evaluate import Annotator, Choices, unseen
from apportion.pipeline.trajectory.case import Case


def foretell(
    context: Context,
    cases: Sequence[Case],
    choices: Choices,
    *,
    solutions: bool = False,
    held_to: Annotator | None = None,
    out: Path | None = None,
) -> list[str]:
    """Lines on what would be done. Raises UserError wherever the evaluation would before it judges."""
    known = [case for case in cases if labelled_place(case) is not None or (solutions and case.sound)]
    lines = [] if len(known) == len(cases) else [f"{len(cases) - len(known)} logs have no label: left out"]
    chosen = (checkers if solutions else localizers)(context, choices.names)
    kept = unseen(chosen, known, choices, lines)
    if held_to is not None:
        kept &= [case.case_id in held_to.labels for case in known]
        if not kept.any():
            raise UserError(f"none of the {len(known)} logs has a label of the {held_to.name}")
    folds_by_question(known, choices.folds, choices.seed)
    _check_models(context, chosen)
    names = ", ".join(one.name for one in chosen)
    lines.append(f"would hold {int(kept.sum())} logs against {len(chosen)} localizers: {names}")
    return [*lines, f"would write {out}"] if out else lines


def _check_models(context: Context, chosen: Sequence[Localizer]) -> None:
    """Raise UserError where a localizer asks a model that is not to be had, or has nothing to learn from."""
    slow = [one.name for one in chosen if isinstance(one, Slow) and one.slow]
    if slow:
        policies_of(context.config).team.tokenizer()
    if any("trained" in name for name in slow):
        if context.plant is None:
            raise UserError("`trained` learns from planted errors: give solutions of GSM8K (--plant train.jsonl)")
        if not context.plant.is_file():
            raise UserError(f"{context.plant}: no such file; --plant takes solutions of GSM8K (JSONL)")
