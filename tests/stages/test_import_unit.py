"""Logs of other agents: imported, credited and whole, on the same road."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedEngine

from apportion import schemas
from apportion.cli.annotate import _CREDIT, _show_blame, _where
from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.evaluation.worth import WORTH
from apportion.pipeline.localizers import learned
from apportion.pipeline.localizers.learned import Learned
from apportion.pipeline.repair import located
from apportion.pipeline.runs.run import Run
from apportion.pipeline.runs.sql import query
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages import imports
from apportion.pipeline.stages.blame import Blame
from apportion.pipeline.stages.credit import Credit
from apportion.pipeline.stages.foresee_blame import cost
from apportion.pipeline.stages.imports import Import
from apportion.pipeline.stages.stage import play
from apportion.pipeline.trajectory.case import question_id


def chat(number: int, *said: tuple[str, str], **more: Any) -> str:
    messages = [{"role": "user", "content": f"Why {number}?"}]
    messages += [{"role": "assistant", "name": name, "content": text} for name, text in said]
    return json.dumps({"messages": messages, "answer": "rain", **more})


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Three good conversations and one bad line."""
    lines = [
        chat(1, ("ann", "It was wet"), ("bob", "rain"), success=True),
        chat(2, ("ann", "I do not know"), ("bob", "snow"), success=False),
        "{bad",
        chat(3, ("ann", "rain"), success=True),
    ]
    path = tmp_path / "logs.jsonl"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Credit on all trajectories, with a scripted engine."""
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (model / name).write_text("{}")
    engine = ScriptedEngine()
    monkeypatch.setattr("apportion.pipeline.engines.running.engine_for", lambda model, root: engine)
    return load_config(None, (f"run.data={tmp_path / 'data'}", f"model.path={model}", "annotate.on=all"))


def imported(config: Config, format: str, path: Path) -> str:
    """Import logs; the run."""
    stage = Import(config, format, path)
    play(stage)
    return stage.run.id


def annotate_all(config: Config, run: str) -> int:
    plan = Credit(Run(config, run))
    return sum(plan.work(shard) for shard in plan.pending)


def localized(config: Config, run: str) -> list[dict[str, Any]]:
    """The rows of `localizations` that the default makes."""
    plan = Blame(Run(config, run))
    for shard in plan.pending:
        plan.work(shard)
    found: list[dict[str, Any]] = Store(config.store_root).read("localizations", run).to_pylist()
    return found


def test_plan_tells_what_would_be_imported_and_writes_nothing(config: Config, logs: Path):
    plan = Import(config, "messages", logs)
    assert (len(plan.read.trajectories), len(plan.read.rejects)) == (3, 1)
    assert not config.data_root.exists()


def test_imported_logs_are_credited_like_sampled_ones(config: Config, logs: Path):
    run = imported(config, "messages", logs)
    assert annotate_all(config, run) == 3
    store = Store(config.store_root)
    credits = store.read("credits", run).to_pylist()
    totals: dict[str, list[float]] = {}
    for one in credits:
        total = totals.setdefault(one["game_id"], [one["v_full"] - one["v_empty"], 0.0])
        total[1] += one["credit"]
    assert sorted(one["player"] for one in credits) == ["ann", "ann", "ann", "bob", "bob"]
    assert all(gain == pytest.approx(total, abs=1e-9) for gain, total in totals.values())
    assert store.verify(run) == []


def test_the_answer_of_an_imported_log_is_its_writers_own_move(config: Config, logs: Path):
    run = imported(config, "messages", logs)
    annotate_all(config, run)
    store = Store(config.store_root)
    assert {one["answerer"] for one in store.read("games", run).to_pylist()} == {"player"}
    assert store.read("message_credits", run)["credit"].null_count == 0


def test_bad_lines_are_in_the_table_of_rejects(config: Config, logs: Path):
    run = imported(config, "messages", logs)
    (reject,) = Store(config.store_root).read("rejects", run).to_pylist()
    assert (reject["stage"], reject["line"], reject["raw"]) == ("import", 3, "{bad")


def test_the_run_is_named_after_format_and_content_unless_the_user_names_it(config: Config, logs: Path):
    first = Import(config, "messages", logs).run.id
    assert first.startswith("messages-")
    assert Import(config, "messages", logs).run.id == first
    logs.write_text(chat(9, ("ann", "sun")))
    assert Import(config, "messages", logs).run.id != first
    named = config.model_copy(update={"run": config.run.model_copy(update={"name": "mine"})})
    assert Import(named, "messages", logs).run.id == "mine"


def test_importing_again_writes_the_same_rows_and_leaves_the_shards_alone(config: Config, logs: Path):
    run = imported(config, "messages", logs)
    store = Store(config.store_root)
    paths = [*store.shards("messages", run), *store.shards("trajectories", run)]
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in paths]
    imported(config, "messages", logs)
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in paths] == before


def by_name(config: Config, localizer: str) -> Config:
    """The same, with a localizer that was asked for."""
    return config.model_copy(update={"failures": config.failures.model_copy(update={"localizer": localizer})})


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "apportion.pipeline.engines.running.engine_for", lambda model, root: pytest.fail("no model is needed")
    )


def test_the_ranker_that_is_asked_for_by_name_reads_a_failed_log_without_a_model(
    config: Config, logs: Path, no_model: None
):
    run = imported(config, "messages", logs)
    (found,) = localized(by_name(config, "learned"), run)
    store = Store(config.store_root)
    steps = store.read("steps", run).sort_by("message_index").to_pylist()
    assert [(one["agent"], one["prm"], one["scorer"]) for one in steps] == [
        ("ann", "learned", None),
        ("bob", "learned", None),
    ]
    assert sum(one["probability"] for one in steps) == pytest.approx(1.0)
    assert [one["score"] for one in steps] == [-one["probability"] for one in steps]
    best = max(steps, key=lambda one: one["probability"])
    assert (found["first_error"], found["speaker"]) == (best["message_index"], best["agent"])
    assert found["confidence"] == pytest.approx(best["probability"])
    assert (found["localizer"], found["target"], found["reason"]) == ("learned", "decisive", None)
    assert found["unlikeness"] > 1
    assert found["weights_fingerprint"] == Learned().weights
    assert store.read("repairs", run).num_rows == 0
    assert store.verify(run) == []


def test_of_a_log_unlike_its_own_the_ranker_says_nothing_unless_it_is_asked_by_name(
    config: Config, logs: Path, no_model: None
):
    run = imported(config, "messages", logs)
    (found,) = localized(config, run)
    assert (found["localizer"], found["target"], found["first_error"], found["agent"], found["confidence"]) == (
        "learned", "decisive", None, None, None,
    )  # fmt: skip
    assert (found["reason"], found["unlikeness"] > 1) == (located.UNLIKE, True)
    store = Store(config.store_root)
    assert store.read("steps", run).num_rows == 0
    assert Blame(Run(config, run)).pending == ()
    (asked,) = localized(by_name(config, "learned"), run)
    assert asked["first_error"] is not None
    (again,) = localized(config, run)
    assert again == found
    assert store.verify(run) == []


def test_a_dry_run_counts_the_logs_of_which_nothing_will_be_said(config: Config, logs: Path):
    run = imported(config, "messages", logs)
    assert cost(Blame(Run(config, run)))["unlike"] == 1
    assert cost(Blame(Run(by_name(config, "learned"), run)))["unlike"] == 0


def test_a_log_like_the_corpus_is_located_also_where_its_question_was_trained_on(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_model: None
):
    path = tmp_path / "own.jsonl"
    talk = "To solve this we need to look at the data step by step and check what we find. " * 8
    ran = "exitcode: 0 (execution succeeded)\nCode output: 1 and some more of what was printed there"
    said = [
        ("Chess_Expert", talk),
        ("Computer_terminal", "There is no code"),
        ("Verification_Expert", talk + "```x```"),
    ]
    said += [("Computer_terminal", ran), ("Chess_Expert", talk + "```x```"), ("Computer_terminal", ran)]
    said += [("Verification_Expert", talk)]
    path.write_text(chat(2, *said, success=False))
    run = imported(config, "messages", path)
    ranker = Learned().ranker
    seen = frozenset({question_id("Why 2?")})
    without = replace(ranker.folds[0], questions=seen)
    monkeypatch.setattr(learned, "_shipped", lambda: replace(ranker, trained_on=seen, folds=(without,)))
    (found,) = localized(config, run)
    assert (found["localizer"], found["reason"], found["agent"]) == ("learned", None, found["speaker"])
    assert found["agent"] in ("Chess_Expert", "Verification_Expert")
    assert found["unlikeness"] <= 1


@pytest.mark.parametrize("localizer", ["learned", "value_drop"])
def test_a_person_is_never_blamed(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, localizer: str):
    engine = ScriptedEngine()
    engine.log_p = lambda prefix, byte: -3.0 if "assume" in prefix else -0.1  # the value falls at the first message
    monkeypatch.setattr("apportion.pipeline.engines.running.engine_for", lambda model, root: engine)
    path = tmp_path / "people.jsonl"
    lines = [
        chat(1, ("user_proxy", "We assume a placeholder."), ("coder", "Fine."), success=False),
        chat(2, ("Human", "We assume a placeholder."), success=False),
        chat(3, ("Computer_terminal", "We assume a placeholder."), success=False),
    ]
    path.write_text("\n".join(lines))
    run = imported(config, "messages", path)
    found = localized(by_name(config, localizer), run)
    assert {one["agent"] for one in found} <= {"coder", None}
    assert located.NOBODY in {one["reason"] for one in found}
    rejects = Store(config.store_root).read("rejects", run, columns=["line", "reason"]).to_pylist()
    assert [reject["line"] for reject in rejects] == [2], "a talk of people alone is no run of agents"
    annotate_all(config, run)
    assert "Human" not in Store(config.store_root).read("credits", run)["player"].to_pylist()
    assert set(Store(config.store_root).read("credits", run)["player"].to_pylist()) <= {"coder", "Computer_terminal"}


def test_stores_of_older_versions_are_read_and_never_mixed_with_new_rows(config: Config, logs: Path, no_model: None):
    run = imported(config, "messages", logs)
    store = Store(config.store_root)
    failure = next(t for t in store.read("trajectories", run).to_pylist() if t["success"] is False)
    old = {
        "trajectory_id": failure["trajectory_id"], "localizer": "learned_by_value", "target": "first_wrong",
        "first_error": 1, "agent": "ann", "speaker": "ann", "confidence": 0.5, "weights_fingerprint": None,
    }  # fmt: skip
    table = schemas.TABLES["localizations"].from_rows([old])
    store.write_shard("localizations", run, "failures-old", table.drop_columns(["reason", "unlikeness"]), "old")
    localized(config, run)
    shown = query(
        config.store_root, "SELECT localizer, target, agent, reason FROM blame ORDER BY localizer"
    ).to_pylist()
    assert shown == [
        {"localizer": "learned", "target": "decisive", "agent": None, "reason": located.UNLIKE},
        {"localizer": "learned_by_value", "target": "first_wrong", "agent": "ann", "reason": None},
    ]
    assert store.verify(run) == []


def test_many_logs_are_cut_into_shards(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(imports, "SHARD", 2)
    path = tmp_path / "many.jsonl"
    path.write_text("\n".join(chat(n, ("ann", f"word {n}"), ("bob", "rain")) for n in range(5)))
    run = imported(config, "messages", path)
    store = Store(config.store_root)
    assert [p.name for p in store.shards("trajectories", run)] == [f"part-imported-{n:05d}.parquet" for n in range(3)]
    assert store.read("trajectories", run).num_rows == 5
    assert annotate_all(config, run) == 5
    assert store.verify(run) == []


def test_a_game_of_too_many_messages_is_set_aside_by_name_and_the_agents_play_theirs(tmp_path: Path, config: Config):
    config = config.model_copy(update={"annotate": config.annotate.model_copy(update={"players": "messages"})})
    path = tmp_path / "long.jsonl"
    path.write_text(chat(1, *[(("ann", "bob")[n % 2], f"note {n}") for n in range(70)], success=True))
    run = imported(config, "messages", path)
    assert annotate_all(config, run) == 1
    store = Store(config.store_root)
    (game,) = store.read("games", run).to_pylist()
    assert (game["player_kind"], game["players"]) == ("agent", ["ann", "bob"])
    (reject,) = store.read("rejects", run, columns=["file", "reason"]).to_pylist()
    assert reject == {
        "file": f"messages of trajectory {game['trajectory_id']}",
        "reason": "a game of 70 messages cannot be played (at most 62)",
    }
    assert annotate_all(config, run) == 0
    assert store.verify(run) == []


@pytest.mark.parametrize("value", ["likelihood", "regenerate"])
def test_what_annotate_prints_is_of_the_games_just_played_by_outcome(logs: Path, config: Config, value: str):
    from apportion.pipeline.runs.sql import query

    shown = []
    for window in (4096, 2048):
        changed = {"model": {"max_model_len": window}, "annotate": {"value": value, "cue": "it's:"}}
        told = {name: getattr(config, name).model_copy(update=more) for name, more in changed.items()}
        now = config.model_copy(update=told)
        run = imported(now, "messages", logs)
        annotate_all(now, run)
        where = _where(Credit(Run(now, run)).shards[0].rules)
        rows = query(now.store_root, _CREDIT.format(run=run, where=where)).to_pylist()
        shown.append(sorted((row["player"], row["success"], row["games"]) for row in rows))
    assert shown == [[("ann", False, 1), ("ann", True, 2), ("bob", False, 1), ("bob", True, 1)]] * 2


def test_the_screen_names_localizer_and_target_says_why_nobody_is_blamed_and_what_it_is_worth(
    config: Config, logs: Path, no_model: None, capsys: pytest.CaptureFixture[str]
):
    run = imported(config, "messages", logs)
    for asked, worth in ((config, False), (by_name(config, "learned"), True)):
        plan = Blame(Run(asked, run))
        planned = "\n".join([*plan.how(), *plan.foretell()])
        assert "imported logs cannot be continued" in planned
        assert "guessing gets 7.2 %" in planned
        assert ("in 1 of them no step will be named" in planned) is not worth
        localized(asked, run)
        _show_blame(plan)
        shown = capsys.readouterr()
        assert "localizer" in shown.out
        assert "decisive" in shown.out
        assert ("(not found)" in shown.out) is not worth
        assert (f"1 failures in which learned names no step: {located.UNLIKE}" in shown.err) is not worth
        assert (WORTH["learned"] in shown.err) is worth
