"""The verb that holds localizers against labelled logs of other people: `evaluate`."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apportion.cli.common import As, ConfigFile, DryRun, Format, Sets, configured, rendered, say, tell_rejects
from apportion.pipeline.core.errors import UserError

if TYPE_CHECKING:
    from apportion.pipeline.core.config import Config
    from apportion.pipeline.evaluation.labelled import Annotator, Labelled
    from apportion.pipeline.evaluation.report import Report
    from apportion.pipeline.stages.evaluate import Choices

evaluate_app = typer.Typer(help="Hold localizers against labelled logs.", no_args_is_help=True)

Logs = Annotated[Path, typer.Argument(help="A file or a folder of logs.")]
Names = Annotated[list[str] | None, typer.Option("--localizer", "-l", help="Only this one (again for more).")]
Anew = Annotated[bool, typer.Option("--cross-validate", help="Train anew without each fold, not with shipped weights.")]
Folds = Annotated[int, typer.Option(min=2, max=1000, help="Folds by question, for whatever is trained here.")]
Blind = Annotated[bool, typer.Option("--without-reference", help="Hide the right answers.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the folds and the intervals.")]
REPORT = "apportion-evaluation"
"""Marks a file as one of ours, which a later evaluation may replace."""
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Also write everything to this JSON file.")]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.add_typer(evaluate_app, name="evaluate")


@evaluate_app.command("who-and-when")
def who_and_when(
    path: Logs,
    second: Annotated[Path | None, typer.Option(help="AgentRx's labels (JSON): how far people agree.")] = None,
    localizer: Names = None,
    anew: Anew = False,
    folds: Folds = 10,
    blind: Blind = False,
    seed: Seed = 0,
    out: Out = None,
    config: ConfigFile = None,
    sets: Sets = None,
    format: As = Format.TABLE,
    dry_run: DryRun = False,
) -> None:
    """Who failed and when, held to the labels of Who&When."""
    resolved = configured(config, sets)
    logs = _read("who-and-when", path)
    annotator = _annotator(second, logs, "second annotator") if second is not None else None
    choices = _choices(localizer, anew, folds, blind, seed)
    _run(resolved, logs, choices, format, out, dry_run, annotator=annotator)


@evaluate_app.command("agentrx")
def agentrx(
    path: Annotated[Path, typer.Argument(help="AgentRx's labels of Magentic-One runs (JSON).")],
    logs: Annotated[Path, typer.Option(help="The logs that it annotates, in the format of Who&When.")],
    localizer: Names = None,
    anew: Anew = False,
    folds: Folds = 10,
    blind: Blind = False,
    seed: Seed = 0,
    out: Out = None,
    config: ConfigFile = None,
    sets: Sets = None,
    format: As = Format.TABLE,
    dry_run: DryRun = False,
) -> None:
    """Who failed and when, held to the labels of AgentRx. What is trained here learns from the logs' own labels."""
    from apportion.pipeline.evaluation.labelled import Annotator

    resolved = configured(config, sets)
    read = _read("who-and-when", logs)
    annotator = _annotator(path, read, "AgentRx annotator")
    own = {case.case_id: case.label for case in read.cases if case.label is not None}
    other = Annotator("Who&When annotator", own)
    choices = _choices(localizer, anew, folds, blind, seed)
    _run(resolved, read, choices, format, out, dry_run, held_to=annotator, annotator=other)


@evaluate_app.command("process-bench")
def process_bench(
    path: Logs,
    localizer: Names = None,
    anew: Anew = False,
    folds: Folds = 10,
    seed: Seed = 0,
    out: Out = None,
    config: ConfigFile = None,
    sets: Sets = None,
    format: As = Format.TABLE,
    dry_run: DryRun = False,
) -> None:
    """The first wrong step of solutions, or none, held to ProcessBench."""
    resolved = configured(config, sets)
    logs = _read("process-bench", path)
    _run(resolved, logs, _choices(localizer, anew, folds, False, seed), format, out, dry_run, sound=True)


def _read(format: str, path: Path) -> Labelled:
    from apportion.pipeline.evaluation.labelled import read

    logs = read(format, path)
    tell_rejects(logs.rejects, stored=False)
    for note in logs.notes:
        say(f"note: {note}")
    return logs


def _annotator(path: Path, logs: Labelled, name: str) -> Annotator:
    from apportion.pipeline.evaluation.labelled import annotator_of
    from apportion.pipeline.importers.reading.agentrx import root_causes

    labels, rejects = root_causes(path)
    annotator = annotator_of(path, labels, logs, name)
    tell_rejects(rejects, stored=False)
    return annotator


def _choices(names: list[str] | None, anew: bool, folds: int, blind: bool, seed: int) -> Choices:
    from apportion.pipeline.stages.evaluate import Choices

    return Choices(tuple(names or ()), anew, folds, blind, seed)


def _run(
    config: Config,
    logs: Labelled,
    choices: Choices,
    format: Format,
    out: Path | None,
    dry_run: bool,
    *,
    sound: bool = False,
    held_to: Annotator | None = None,
    annotator: Annotator | None = None,
) -> None:
    from apportion.cli.progress import Bars
    from apportion.pipeline.engines.policy import policies_of
    from apportion.pipeline.evaluation.metrics import FIGURES
    from apportion.pipeline.evaluation.report import F1_FIGURES
    from apportion.pipeline.stages import evaluate as stage

    if dry_run:
        if out is not None:
            _check_out(out.resolve())
        planned = stage.plan(config, logs.cases, choices, sound=sound, held_to=held_to)
        if planned.asks_scorer:
            policies_of(config).team.tokenizer()
        for line in [*stage.foretell(planned), *([f"would write {out}"] if out else [])]:
            say(line)
        return
    with _claimed(out):
        planned = stage.plan(config, logs.cases, choices, sound=sound, held_to=held_to)
        with Bars():
            report = stage.evaluate(planned, held_to=held_to, annotator=annotator)
        figures, compared = (F1_FIGURES, "F1") if sound else (FIGURES, "MRR")
        _show(report, figures, compared, format, out)


@contextmanager
def _claimed(out: Path | None) -> Iterator[None]:
    """Hold the file that the report goes to; UserError where it is none of ours, before anything is computed."""
    if out is None:
        yield
        return
    from apportion.pipeline.core.places import hold

    out = out.resolve()
    _check_out(out)
    with hold(out):
        yield


def _check_out(out: Path) -> None:
    """Raise UserError where something else than an earlier report is there."""
    if not out.exists() or (out.is_file() and not out.stat().st_size):
        return
    try:
        told = json.loads(out.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = None
    if not isinstance(told, dict) or told.get("format") != REPORT:
        raise UserError(f"--out {out}: is there and is no earlier report of `evaluate`; choose another file")


def _keep(out: Path, text: str) -> None:
    """Write the report in one go, in the place of an earlier one at most."""
    from apportion.pipeline.core.places import put, put_beside

    made = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        made.write_text(text, encoding="utf-8")
        try:
            _check_out(out)
        except UserError as error:
            raise UserError(f"{error}; this report is {put_beside(made, out)}") from error
        if not put(made, out):
            made.replace(out)
    finally:
        made.unlink(missing_ok=True)


def _show(report: Report, figures: Sequence[str], compared: str, format: Format, out: Path | None) -> None:
    """Print the report: for people in tables, else the rows (JSON: all of it; CSV: the figures)."""
    import pyarrow as pa

    told = {"format": REPORT, "figures": report.figures, "differences": report.differences, "notes": report.notes}
    text = json.dumps(_plain(told), ensure_ascii=False, indent=2, allow_nan=False)
    if out is not None:
        _keep(out.resolve(), text + "\n")
    for note in report.notes:
        say(note)
    if format is Format.JSON:
        typer.echo(text)
        return
    if format is Format.CSV:
        typer.echo(rendered(pa.Table.from_pylist(_plain(report.figures)), format))
        return
    tables = [row for row in report.figures if row["by"] != "length"]
    for logs in dict.fromkeys(row["logs"] for row in tables):
        typer.echo(_titled([row for row in tables if row["logs"] == logs], figures, format))
    lengths = [row for row in report.figures if row["by"] == "length"]
    if lengths:
        typer.echo(f"{compared} by the length of the log\n{_wide(lengths, compared, format)}\n")
    shown = [row for row in report.differences if row["by"] != "length"]
    if shown:
        typer.echo(f"{compared} less that of {shown[0]['against']}, on the same logs\n{_wide(shown, compared, format)}")


def _titled(rows: Sequence[dict[str, Any]], figures: Sequence[str], format: Format) -> str:
    """One table of figures: a row a localizer."""
    import pyarrow as pa

    shares = [name for name in ("cut", "unlike") if any(row.get(name) is not None for row in rows)]
    table = [
        {"localizer": row["localizer"]}
        | {name: _cell(row, name) for name in figures}
        | {name: "" if row[name] is None else f"{100 * row[name]:.0f} %" for name in shares}
        for row in rows
    ]
    first = rows[0]
    what = f"{first['n_wrong']} wrong and {first['n_correct']} correct" if "n_wrong" in first else first["n"]
    return f"{first['logs']} ({what})\n{rendered(pa.Table.from_pylist(table), format)}\n"


def _wide(rows: Sequence[dict[str, Any]], figure: str, format: Format) -> str:
    """A row a localizer, a column a group of logs. A group's size is that of the first row that has it."""
    import pyarrow as pa

    sizes: dict[str, int] = {}
    for row in rows:
        sizes.setdefault(row["logs"], row["n"])
    names = list(dict.fromkeys(row["localizer"] for row in rows))
    cells = {(row["localizer"], row["logs"]): _cell(row, figure) for row in rows}
    table = [
        {"localizer": name} | {f"{logs} ({n})": cells.get((name, logs), "") for logs, n in sizes.items()}
        for name in names
    ]
    return rendered(pa.Table.from_pylist(table), format)


def _cell(row: dict[str, Any], name: str) -> str:
    """A figure with its interval; shares in per cent."""
    share = name not in ("MRR", "F1")
    values = [row[name], row[f"{name}_low"], row[f"{name}_high"]]
    texts = ["-" if math.isnan(value) else f"{100 * value:.1f}" if share else f"{value:.3f}" for value in values]
    return texts[0] if math.isnan(values[1]) else f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _plain(value: Any) -> Any:
    """NaN as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
