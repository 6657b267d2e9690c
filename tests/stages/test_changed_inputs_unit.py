"""A run's name stands for its inputs: other tasks, documents or logs under it are refused, the same ones are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedEngine
from test_sample_annotate_unit import configured, reply, rows, sample_all

from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.imports import Import
from apportion.pipeline.stages.stage import play

TASKS = [{"question": f"What is {n}+1?", "answer": str(n + 1)} for n in range(4)]
LOGS: list[dict[str, Any]] = [
    {
        "messages": [
            {"role": "user", "content": f"Why {number}?"},
            {"role": "assistant", "name": "ann", "content": "It was wet"},
            {"role": "assistant", "name": "bob", "content": "rain"},
        ],
        "answer": "rain",
        "success": True,
    }
    for number in range(2)
]


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """The engine of sampling."""
    made = ScriptedEngine(reply)
    monkeypatch.setattr("apportion.pipeline.engines.running.engine_for", lambda model, root: made)
    return made


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in records) + "\n")
    return path


def edited(records: list[dict[str, Any]], **changes: Any) -> list[Any]:
    return [records[0] | changes, *records[1:]]


def said(text: str) -> dict[str, Any]:
    """The first log, in which ann says `text`."""
    messages = [{**m, "content": text} if m.get("name") == "ann" else m for m in LOGS[0]["messages"]]
    return {"messages": messages}


def import_as(config: Config, path: Path) -> str:
    stage = Import(config, "messages", path)
    play(stage)
    return stage.run.id


def searching(folder: Path, documents: Any, name: str = "r") -> Config:
    team = configured(folder).team.model_dump(mode="json")
    team["tools"]["finder"] = {"kind": "search", "documents": documents}
    return configured(folder, team=team, run={"name": name, "data": str(folder / "data")})


def content(config: Config) -> dict[str, bytes]:
    """Every file of the store but the locks."""
    files = [path for path in config.store_root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path): path.read_bytes() for path in files}


def refused(action: Any, config: Config) -> None:
    """`action` is refused with the three cures, and the store is left as it was."""
    before = content(config)
    with pytest.raises(UserError) as caught:
        action()
    line = str(caught.value)
    assert "\n" not in line
    assert "run 'r' exists and was made from another configuration, tasks or logs" in line
    for cure in ("--set run.name=NAME", "apportion runs remove r", "repeat it as it was"):
        assert cure in line
    assert content(config) == before
    assert Store(config.store_root).verify("r") == []


@pytest.mark.parametrize(
    "changed",
    [
        edited(TASKS, answer="2"),
        edited(TASKS, question="What is 0+2?"),
        edited(TASKS, answer=["1", "one"]),
        [*TASKS, {"question": "What is 4+1?", "answer": "5"}],
        TASKS[:3],
        TASKS[::-1],
    ],
    ids=["answer", "question", "alias", "longer", "shorter", "reordered"],
)
def test_an_edited_task_file_is_refused(tmp_path: Path, changed: list[Any]):
    write(tmp_path / "tasks.jsonl", TASKS)
    config = configured(tmp_path)
    sample_all(config)
    write(tmp_path / "tasks.jsonl", changed)
    refused(lambda: sample_all(config), config)
    write(tmp_path / "tasks.jsonl", TASKS)
    assert sample_all(config) == []


@pytest.mark.parametrize("listed", [False, True], ids=["one file", "two files"])
def test_an_edited_document_is_refused(tmp_path: Path, listed: bool):
    fixed, file = tmp_path / "a.txt", tmp_path / "b.txt"
    fixed.write_text("the sky is grey\n")
    file.write_text("the fox is red\n")
    config = searching(tmp_path, [str(fixed), str(file)] if listed else str(file))
    sample_all(config)
    file.write_text("the fox is fat\n")
    refused(lambda: sample_all(config), config)
    file.write_text("the fox is red\n")
    assert sample_all(config) == []


def test_other_documents_give_other_ids_under_another_name(tmp_path: Path):
    file = tmp_path / "a.txt"
    ids = []
    for name, text in (("r", "red\n"), ("same", "red\n"), ("other", "fat\n")):
        file.write_text(text)
        config = searching(tmp_path, str(file), name)
        sample_all(config)
        ids.append({one["trajectory_id"] for one in rows(config, "trajectories", name)})
    assert ids[0] == ids[1]
    assert not ids[0] & ids[2]


def test_an_import_never_takes_a_sampled_runs_name(tmp_path: Path):
    config = configured(tmp_path)
    sample_all(config)
    logs = write(tmp_path / "logs.jsonl", LOGS)
    refused(lambda: import_as(config, logs), config)
    assert {one["origin"] for one in rows(config, "trajectories")} == {"sampled", "solo"}


def test_sampling_never_takes_an_imported_runs_name(tmp_path: Path):
    config = configured(tmp_path)
    import_as(config, write(tmp_path / "logs.jsonl", LOGS))
    refused(lambda: sample_all(config), config)
    assert {one["origin"] for one in rows(config, "trajectories")} == {"imported"}


@pytest.mark.parametrize(
    "changed",
    [
        edited(LOGS, **said("It was dry")),
        edited(LOGS, success=False),
        edited(LOGS, answer="snow"),
        [*LOGS, LOGS[0]],
        LOGS[:1],
        [*LOGS, "{bad"],
    ],
    ids=["text", "success", "answer", "longer", "shorter", "bad line"],
)
def test_a_changed_log_is_refused(tmp_path: Path, changed: list[Any]):
    config = load_config(None, (f"run.data={tmp_path / 'data'}", "run.name=r"))
    path = write(tmp_path / "logs.jsonl", LOGS)
    assert import_as(config, path) == "r"
    write(path, changed)
    refused(lambda: import_as(config, path), config)


def test_an_unchanged_log_may_be_imported_again_from_any_folder(tmp_path: Path):
    config = load_config(None, (f"run.data={tmp_path / 'data'}", "run.name=r"))
    import_as(config, write(tmp_path / "logs.jsonl", LOGS))
    before = content(config)
    (tmp_path / "moved").mkdir()
    import_as(config, write(tmp_path / "moved" / "logs.jsonl", LOGS))
    assert content(config) == before
    assert Store(config.store_root).verify("r") == []
