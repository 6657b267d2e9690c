"""`apportion evaluate` on small logs written in the formats of Who&When, AgentRx and ProcessBench."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from apportion.cli import app as cli

FIVE = ("Orchestrator", "WebSurfer", "Orchestrator", "Assistant", "Orchestrator")


def named_log(i: int) -> dict:
    return {
        "question": f"Named question {i}?",
        "question_ID": f"n{i}",
        "ground_truth": "8",
        "history": [{"content": f"text {j}", "role": "assistant", "name": name} for j, name in enumerate("ABAB")],
        "mistake_agent": "B",
        "mistake_step": "1",
        "mistake_reason": "Wrong.",
    }


def role_log(i: int) -> dict:
    history = [{"content": "Go.", "role": "human"}]
    history += [{"content": f"text {j}", "role": name} for j, name in enumerate(FIVE)]
    return {
        "question": f"Role question {i}?",
        "question_ID": f"r{i}",
        "ground_truth": "8",
        "history": history,
        "mistake_agent": "WebSurfer",
        "mistake_step": "2",
        "mistake_reason": "Wrong.",
    }


def annotated(run: str, step: int, agent: str) -> dict:
    first = {"failure_id": 1, "step_number": 1, "failed_agent": "Orchestrator"}
    root = {"failure_id": 2, "step_number": step, "failed_agent": agent}
    return {"trajectory_id": run, "failures": [first, root], "root_cause": {"failure_id": 2}}


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> dict[tuple[str, str], dict]:
        """The figures by localizer and group of logs."""
        return {(row["localizer"], row["logs"]): row for row in json.loads(self.out)["figures"]}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    def call(*arguments: str) -> Answer:
        data = f"run.data={tmp_path / 'data'}"
        full = ["apportion", "evaluate", *map(str, arguments), "--folds", "2", "--set", data]
        monkeypatch.setattr(sys, "argv", full)
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    yield call
    assert not (tmp_path / "data").exists(), "evaluating writes no run"


@pytest.fixture
def logs(tmp_path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    for i in range(8):
        (folder / f"n{i}.json").write_text(json.dumps(named_log(i)))
    for i in range(6):
        (folder / f"r{i}.json").write_text(json.dumps(role_log(i)))
    return folder


@pytest.fixture
def labels(tmp_path) -> Path:
    file = tmp_path / "labels.json"
    records = [annotated("r0", 3, "websurfer"), annotated("r1", 5, "assistant"), annotated("n0", 2, "B")]
    file.write_text(json.dumps([*records, annotated("r2", 99, "Assistant"), {"trajectory_id": "r3"}]))
    return file


def test_the_floors_are_figures_on_every_kind_of_log(run, logs):
    answer = run("who-and-when", logs, "--format", "json")
    assert answer.code == 0
    rows = answer.rows
    assert rows["random", "all"]["n"] == 14
    assert rows["random", "algorithm_generated"]["step"] == pytest.approx(1 / 4)
    assert rows["random", "hand_crafted"]["step"] == pytest.approx(1 / 6)
    assert rows["random", "hand_crafted"]["agent"] == pytest.approx(1 / 4)
    for name in ("constant step from start", "structure"):
        row = rows[name, "all"]
        assert (row["step"], row["agent"], row["MRR"], row["MRR_low"]) == (1, 1, 1, 1), name
    assert rows["random", "up to 10 steps"]["n"] == 14
    against = {(row["localizer"], row["logs"]): row for row in json.loads(answer.out)["differences"]}
    gain = against["random", "hand_crafted"]
    assert gain["against"] == "structure"
    assert gain["MRR"] == pytest.approx(rows["random", "hand_crafted"]["MRR"] - 1)


def test_what_a_localizer_is_worth_elsewhere_and_how_often_it_would_be_silent_stand_beside_its_figures(run, logs):
    answer = run("who-and-when", logs, "-l", "learned", "--format", "json")
    assert answer.rows["learned", "all"]["unlike"] == 1, "logs of four words are unlike its corpus"
    assert answer.rows["structure", "all"]["unlike"] is None
    assert "on 127 failures of a system that it never saw" in answer.err
    told = run("who-and-when", logs, "-l", "learned").out
    assert "unlike" in told
    assert "100 %" in told


def test_a_second_annotator_is_the_last_row_on_the_logs_that_it_saw(run, logs, labels):
    answer = run("who-and-when", logs, "--second", labels, "-l", "random", "--format", "json")
    assert [name for name, group in answer.rows if group == "all"] == ["random", "structure", "second annotator (n=2)"]
    row = answer.rows["second annotator (n=2)", "hand_crafted"]
    assert (row["n"], row["step"], row["agent"], row["±3"]) == (2, 0.5, 0.5, 1), "names match in any case"
    assert "labels.json:5: `failures` or `root_cause.failure_id` is missing" in answer.err


def test_localizers_are_held_to_the_labels_of_agentrx(run, logs, labels):
    answer = run("agentrx", labels, "--logs", logs, "-l", "constant agent", "--format", "json")
    rows = answer.rows
    assert rows["structure", "all"]["n"] == 2
    assert rows["structure", "all"]["step"] == 0.5, "trained on Who&When's labels, met in one of two"
    assert rows["Who&When annotator (n=2)", "all"]["agent"] == 0.5


def test_people_get_tables_and_the_shell_gets_csv(run, logs, tmp_path):
    out = tmp_path / "deep" / "figures.json"
    told = run("who-and-when", logs, "-l", "random", "--out", out).out
    for line in ("all (14)", "hand_crafted (6)", "MRR by the length of the log", "MRR less that of structure"):
        assert line in told
    assert "16.7 [16.7, 16.7]" in told
    kept = json.loads(out.read_text())
    assert {row["localizer"] for row in kept["figures"]} == {"random", "structure"}
    rows = list(csv.DictReader(io.StringIO(run("who-and-when", logs, "-l", "random", "-f", "csv").out)))
    assert len(rows) == len(kept["figures"])
    assert float(rows[0]["MRR"]) == kept["figures"][0]["MRR"]


KNOWN = '''
from pathlib import Path

import numpy as np

from apportion.pipeline.localizers.base import Localizer, Verdict
from apportion.pipeline.trajectory.case import question_id


class Known(Localizer):
    """Comes with weights that have seen some questions; it points at the step that it was told, and reads half."""

    learns = True
    questions: list[str] = []
    at: int = 0
    fits: str

    @property
    def trained_on(self):
        return frozenset(map(question_id, self.questions))

    def fit(self, cases, means):
        with Path(self.fits).open("a") as file:
            file.write(f"{len(cases)}\\n")
        return self

    def judge(self, cases, means):
        assert all(case.label is None for case in cases)
        assert all("labels" not in case.log.trajectory for case in cases)
        assert all(case.reference is None and not case.log.task.references for case in cases)
        steps = [np.eye(len(case.steps))[self.at] for case in cases]
        return [Verdict(one, dict.fromkeys(case.agents, 0.0)) for one, case in zip(steps, cases, strict=True)]

    def cut_share(self, cases, means):
        return 0.5
'''


@pytest.fixture
def known(tmp_path) -> tuple[str, ...]:
    """The options that name it."""
    (tmp_path / "known.py").write_text(KNOWN)
    fits = f"failures.options.fits={json.dumps(str(tmp_path / 'fits'))}"
    return ("-l", f"{tmp_path / 'known.py'}:Known", "--set", fits, "--without-reference")


def test_shipped_weights_are_judged_on_questions_that_they_have_not_seen(run, logs, known, tmp_path):
    sets = (*known, "--set", "failures.options.at=1", "--set")
    sets += (f"failures.options.questions={json.dumps([f'Named question {i}?' for i in range(3)])}",)
    answer = run("who-and-when", logs, *sets, "--format", "json")
    assert not (tmp_path / "fits").exists()
    assert answer.rows["Known", "all"]["n"] == answer.rows["structure", "all"]["n"] == 11
    assert answer.rows["Known", "algorithm_generated"]["step"] == 1
    assert answer.rows["Known", "all"]["cut"] == 0.5
    line = "3 of 14 logs ask questions that shipped weights were trained on (Known): they are left out"
    assert line in answer.err
    assert [line in note for note in json.loads(answer.out)["notes"]] == [True]
    anew = run("who-and-when", logs, *sets, "--cross-validate", "--format", "json")
    assert anew.rows["Known", "all"]["n"] == 14
    assert len((tmp_path / "fits").read_text().split()) == 2


def test_a_report_replaces_an_earlier_report_and_no_other_file(run, logs, tmp_path):
    out, mine = tmp_path / "figures.json", tmp_path / "mine.json"
    first = run("who-and-when", logs, "-l", "random", "--out", out)
    assert (first.code, json.loads(out.read_text())["format"]) == (0, "apportion-evaluation")
    out.write_text(json.dumps({"format": "apportion-evaluation", "figures": "old"}))
    assert run("who-and-when", logs, "-l", "random", "--out", out).code == 0
    assert json.loads(out.read_text())["figures"] != "old"
    for text in ("thesis", '{"figures": []}', "[1]"):
        mine.write_text(text)
        refused = run("who-and-when", logs, "-l", "random", "--out", mine)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err == (
            f"apportion: --out {mine}: is there and is no earlier report of `evaluate`; choose another file\n"
        )
        assert mine.read_text() == text
    assert run("who-and-when", logs, "-l", "random", "--out", tmp_path).code == 2
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_appears_during_the_evaluation_stays_and_the_report_is_kept_beside_it(
    run, logs, tmp_path, monkeypatch
):
    from apportion.pipeline.stages import evaluate as stage

    out, judged = tmp_path / "figures.json", stage.evaluate

    def meanwhile(*given, **more):
        out.write_text("mine")
        return judged(*given, **more)

    monkeypatch.setattr(stage, "evaluate", meanwhile)
    answer = run("who-and-when", logs, "-l", "random", "--out", out)
    assert answer.code == 2
    assert answer.err.splitlines()[-1].endswith(f"choose another file; this report is {tmp_path / 'figures-2.json'}")
    assert out.read_text() == "mine"
    assert json.loads((tmp_path / "figures-2.json").read_text())["figures"]


def test_nothing_left_to_evaluate_on_is_an_error_with_its_cure(run, logs, known):
    names = [*(f"Named question {i}?" for i in range(8)), *(f"Role question {i}?" for i in range(6))]
    answer = run("who-and-when", logs, *known, "--set", f"failures.options.questions={json.dumps(names)}")
    assert answer.code == 2
    assert "nothing is left to evaluate on; --cross-validate" in answer.err


def solution(i: int) -> dict:
    n = 3 if i % 2 else 6
    return {
        "id": f"{'math' if i % 4 < 2 else 'gsm8k'}-{i}",
        "problem": f"Problem {i}?",
        "steps": [f"step {j}" for j in range(n)],
        "label": -1 if i % 2 else 2,
        "final_answer_correct": bool(i % 2),
    }


def test_checkers_are_figures_on_process_bench(run, tmp_path):
    file = tmp_path / "some.jsonl"
    file.write_text("".join(json.dumps(solution(i)) + "\n" for i in range(40)) + "{nope\n")
    answer = run("process-bench", file, "--format", "json")
    assert "some.jsonl:41: not JSON" in answer.err
    rows = answer.rows
    assert rows["best mixture", "all"]["F1"] == pytest.approx(0.5), "all wrong ones at step 2: F1 = 2 / 4"
    assert (rows["random", "math"]["wrong"], rows["random", "math"]["correct"]) == pytest.approx((1 / 7, 1 / 4))
    assert (rows["structure", "gsm8k"]["n_wrong"], rows["structure", "gsm8k"]["n_correct"]) == (10, 10)
    assert rows["structure", "all"]["F1"] == 1
    assert "all (20 wrong and 20 correct)" in run("process-bench", file).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["who-and-when", "nowhere"], "no such file or folder"),
        (["who-and-when", "LOGS", "-l", "structur"], "did you mean 'structure'?"),
        (["who-and-when", "LOGS", "-l", "monte_carlo"], "logs in a file cannot be continued"),
        (["who-and-when", "LOGS", "--second", "nowhere.json"], "give the JSON file with AgentRx's labels"),
        (["agentrx", "BAD", "--logs", "LOGS"], "not JSON"),
        (["agentrx", "OTHER", "--logs", "LOGS"], "none of its 1 runs is among the hand-crafted logs"),
    ],
)
def test_wrong_usage_is_one_line_with_its_cure(run, logs, tmp_path, arguments, said):
    bad, other = tmp_path / "bad.json", tmp_path / "other.json"
    bad.write_text("{")
    other.write_text(json.dumps([annotated("n0", 1, "A")]))
    places = {"LOGS": logs, "BAD": bad, "OTHER": other}
    answer = run(*(places.get(one, one) for one in arguments))
    assert answer.code == 2
    assert said in answer.err
    assert answer.err.strip().count("\n") == 0


def test_every_localizer_that_asks_no_model_is_held_against_logs_where_none_is_named(run, logs):
    names = dict.fromkeys(name for name, _ in run("who-and-when", logs, "--format", "json").rows)
    assert list(names) == [
        "random", "constant step from start", "constant step from end", "constant agent", "first speaker",
        "last speaker", "most talkative speaker", "structure", "learned",
    ]  # fmt: skip
    asked = run("who-and-when", logs, "-l", "last speaker", "-l", "constant_agent", "--format", "json").rows
    assert list(dict.fromkeys(name for name, _ in asked)) == ["constant agent", "last speaker", "structure"]


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_what_the_import_tells_is_told_here_too(run, logs, more):
    (logs / "ghost.json").write_text(json.dumps(named_log(9) | {"mistake_agent": "ghost"}))
    (logs / "readme.txt").write_text("none of the logs")
    told = run("who-and-when", logs, *more).err
    assert "note: mistake_agent speaks nowhere in its log" in told
    assert "ghost.json names 'ghost', there speak A, B (1 log)" in told
    assert "note: passed over, being none of" in told
    assert run("who-and-when", logs / "n0.json", *more).err.count("note:") == 0
