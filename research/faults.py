"""Is a planted error found? The step and the agent of injected faults, on tasks that the localizer never saw.

    .venv/bin/apportion inject --run RUN
    .venv/bin/python -m research.faults --run RUN [--run RUN ...] [--data data] [--weights FILE] [--no-model]

Cases are the continuations of planted faults (`apportion inject`) in which the team then failed. They are split by
question into folds; its ranker (`planted_ranker`) is fitted on all folds but one and judges that one, so every
case is judged by weights that never saw its question. `--no-model` leaves out the signals that ask the model. Printed,
for all signals, for each family alone and for all without it, and for rules without training: the share of cases whose
step, and whose agent, is named, with 95 % bootstrap intervals over questions; and the same by kind of fault.
`--weights` writes weights fitted on all cases.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from apportion.cli.progress import Bars
from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.core.ids import digest
from apportion.pipeline.core.libraries import hush
from apportion.pipeline.core.progress import watched, watcher
from apportion.pipeline.engines import running
from apportion.pipeline.evaluation.folds import cross_validate, folds_by_question
from apportion.pipeline.faults.faults import case_of_fault
from apportion.pipeline.localizers.base import Verdict
from apportion.pipeline.runs.run import Kind, Run
from apportion.pipeline.runs.store import Store
from apportion.pipeline.trajectory.case import Case
from apportion.pipeline.trajectory.log import Log
from research.intervals import interval
from research.planted_ranker import COLUMNS, FAMILIES, Floats, Ranked, measure, turns_of

console = Console(width=130)


def main(
    run: Annotated[list[str], typer.Option(help="A run with injected faults; repeatable.")],
    data: Path = Path("data"),
    folds: int = 5,
    keep: Annotated[Path | None, typer.Option(help="Keep the signals in this file, and take them from there.")] = None,
    weights: Path | None = None,
    model: Annotated[bool, typer.Option(help="Read values and surprise with the run's model.")] = True,
) -> None:
    """Measure how often the planted step and agent are found."""
    hush(data)
    logs: list[Log] = []
    signals: dict[str, Floats] = {}
    for one in run:
        config = load_config(None, (f"run.data={data}",), (Store(data / "runs").manifest(one) or {}).get("config"))
        found = injected(config, one)
        logs += found
        signals |= signals_of(config, one, found, keep) if model else measure(found, None, "")
    cases = [case_of_fault(log) for log in logs]
    kinds = {log.trajectory_id: str(log.trajectory["fault_kind"]) for log in logs}
    sizes = [len(turns_of(case)) for case in cases]
    questions = len({case.question_id for case in cases})
    console.print(
        f"{len(cases)} cases of {questions} questions, {np.mean(sizes):.1f} messages of agents each; one of them at "
        f"random would be right in {np.mean([1 / n for n in sizes]):.1%}"
    )
    shown = Table("localizer", "cases", "step", "agent")
    for name, verdicts in judged(cases, signals, folds).items():
        add(shown, name, cases, verdicts)
    console.print(shown)
    verdicts = crossed(cases, Ranked(signals), folds)
    by_kind = Table("kind of fault", "cases", "step", "agent")
    for kind in sorted(set(kinds.values())):
        places = [i for i, case in enumerate(cases) if kinds[case.case_id] == kind]
        add(by_kind, kind, [cases[i] for i in places], [verdicts[i] for i in places])
    console.print(by_kind)
    if weights:
        write_weights(weights, cases, signals, verdicts)


def injected(config: Config, run: str) -> list[Log]:
    """The failures that faults of a run led to."""
    opened = Run(config, run)
    logs = [log for source in opened.sources(Kind.COUNTERFACTUAL) for log in opened.logs(source.name)]
    return [log for log in logs if log.trajectory["success"] is False and log.trajectory["fault_step"] in log.turns]


def signals_of(config: Config, run: str, logs: Sequence[Log], keep: Path | None) -> dict[str, Floats]:
    """The signals of each log, measured or kept."""
    if keep and keep.exists():
        with np.load(keep) as kept:
            known = {name: kept[name] for name in kept.files}
        if all(log.trajectory_id in known for log in logs):
            return {log.trajectory_id: known[log.trajectory_id] for log in logs}
    engine = running.engine_for(config.model, config.data_root)
    with Bars() as bars, watched(bars):
        turns = sum(len(log.turns) for log in logs)
        made = measure(logs, engine, config.annotate.cue, watcher().start(f"signals of {run}", 2 * turns + len(logs)))
    if keep:
        np.savez(keep, **made)  # type: ignore[arg-type]
    return made


def judged(cases: Sequence[Case], signals: dict[str, Floats], folds: int) -> dict[str, list[Verdict]]:
    """Verdicts by localizer, of cases whose question it has not seen."""
    result = {"ranked (all signals)": crossed(cases, Ranked(signals), folds)}
    for name in FAMILIES:
        result[f"{name} alone"] = crossed(cases, Ranked(signals, families=(name,)), folds)
    for name in FAMILIES:
        rest = tuple(other for other in FAMILIES if other != name)
        result[f"without {name}"] = crossed(cases, Ranked(signals, families=rest), folds)
    rules: dict[str, Callable[[Floats], Floats]] = {
        "rule: largest fall of the value": lambda x: x[:, COLUMNS.index("value.fall")],
        "rule: most surprising message": lambda x: x[:, COLUMNS.index("surprise.most")],
        "rule: first new name": lambda x: x[:, COLUMNS.index("consistency.first_new")],
    }
    for name, rule in rules.items():
        result[name] = [by_rule(case, rule(signals[case.case_id])) for case in cases]
    return result


def crossed(cases: Sequence[Case], localizer: Ranked, folds: int) -> list[Verdict]:
    """One verdict a case, from weights fitted on other questions."""
    return cross_validate(localizer, cases, folds_by_question(cases, folds))


def by_rule(case: Case, scores: Floats) -> Verdict:
    """The agent of the best turn is to blame."""
    steps = np.full(len(case.steps), -np.inf)
    steps[turns_of(case)] = scores
    best = case.steps[int(steps.argmax())].agent
    return Verdict(steps, {agent: float(agent == best) for agent in case.agents})


def hits(case: Case, verdict: Verdict) -> tuple[bool, bool]:
    """Are the step and the agent the planted ones?"""
    assert case.label is not None
    best = case.steps[int(verdict.steps.argmax())]
    agent = max(verdict.agents, key=lambda name: verdict.agents[name])
    return best.index == case.label.step, agent == case.label.agent


def add(table: Table, name: str, cases: Sequence[Case], verdicts: Sequence[Verdict]) -> None:
    """A row with both shares."""
    groups: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for case, verdict in zip(cases, verdicts, strict=True):
        groups[case.question_id].append(hits(case, verdict))
    shares = [interval([np.array([pair[i] for pair in some], dtype=float) for some in groups.values()]) for i in (0, 1)]
    table.add_row(name, str(len(cases)), *shares)


def write_weights(path: Path, cases: Sequence[Case], signals: dict[str, Floats], verdicts: Sequence[Verdict]) -> None:
    """Weights fitted on every case, with the figures of the folds and the questions that they have seen."""
    fitted = Ranked(signals).fit(cases)
    assert fitted.weights is not None
    both = np.array([hits(case, verdict) for case, verdict in zip(cases, verdicts, strict=True)], dtype=float)
    told = {
        "columns": list(COLUMNS),
        "weights": [round(float(value), 6) for value in fitted.weights.weights],
        "trained_on": {
            "cases": len(cases),
            "questions": sorted({case.question_id for case in cases}),
            "signals": digest({name: rows.round(4).tolist() for name, rows in signals.items()}),
        },
        "held_out_by_question": {"step": round(both[:, 0].mean(), 4), "agent": round(both[:, 1].mean(), 4)},
    }
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
