"""Files named in a configuration are found from any folder, and ids do not depend on where they lie."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from apportion.demo.demo import at_home, held_out
from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.paths import SHIPPED
from apportion.pipeline.runs.rules import rules_of

TEAM = """
[tools.find]
kind = "search"
documents = ["docs/a.jsonl", "b.jsonl"]
[[agents]]
name = "boss"
role = "planner"
"""
RUN = """
[run]
data = "store"
[model]
path = "models/mine"
[tasks]
path = "tasks.jsonl"
[export]
evaluation = "held/out.jsonl"
[team]
file = "teams/team.toml"
"""


def project(folder: Path, mark: str = "") -> Path:
    """A project with every kind of file that a TOML can name; returns its TOML."""
    for name in ("models/mine/config.json", "tasks.jsonl", "held/out.jsonl", "teams/docs/a.jsonl", "teams/b.jsonl"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"text": f"{name}{mark}"}) + "\n")
    (folder / "teams/team.toml").write_text(TEAM)
    (folder / "run.toml").write_text(RUN)
    return folder / "run.toml"


def named(config: Config) -> list[str]:
    """Every path of a configuration."""
    (tool,) = config.team.tools.values()
    documents = [tool.documents] if isinstance(tool.documents, str) else tool.documents
    return [config.run.data, config.model.path, config.tasks.path, config.export.evaluation, *documents]


WRITTEN = ["store", "models/mine", "tasks.jsonl", "held/out.jsonl", "docs/a.jsonl", "b.jsonl"]
FOUND = ["store", "models/mine", "tasks.jsonl", "held/out.jsonl", "teams/docs/a.jsonl", "teams/b.jsonl"]


def test_paths_of_a_toml_are_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    toml = project(tmp_path / "my project")
    project(tmp_path / "cwd", "decoy").unlink()
    monkeypatch.chdir(tmp_path / "cwd")
    assert named(load_config(toml)) == [str(toml.parent / name) for name in FOUND]
    assert named(load_config(Path("../my project/run.toml"))) == [f"../my project/{name}" for name in FOUND]
    monkeypatch.chdir(toml.parent)
    assert named(load_config(Path("run.toml"))) == FOUND


def test_paths_of_set_are_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    toml = project(tmp_path / "project")
    monkeypatch.chdir(tmp_path)
    sets = ("tasks.path=tasks.jsonl", "run.data=here", "team.tools.find.documents=b.jsonl")
    assert named(load_config(toml, sets))[::2] == ["here", "tasks.jsonl", "b.jsonl"]
    (tmp_path / "team.toml").write_text(TEAM)
    assert load_config(None, ("team.file=team.toml",)).team.agents[0].name == "boss"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config(None, ("tasks.path=~/x.jsonl",)).tasks.path == f"{tmp_path}/x.jsonl"


def test_a_file_that_lies_in_the_working_directory_alone_is_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As configurations were written before paths were relative to them."""
    project(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "run.toml").rename(tmp_path / "configs/run.toml")
    (tmp_path / "store").mkdir()
    monkeypatch.chdir(tmp_path)
    assert named(load_config(Path("configs/run.toml")))[:5] == [*FOUND[:4], "teams/docs/a.jsonl"]


def test_a_file_that_is_nowhere_is_named_where_it_should_lie(tmp_path: Path):
    toml = tmp_path / "run.toml"
    toml.write_text('[tasks]\npath = "tasks.jsonl"\n[model]\npath = "smollm2"\n')
    config = load_config(toml)
    assert (config.tasks.path, config.model.path) == (str(tmp_path / "tasks.jsonl"), "smollm2")
    toml.write_text('[tasks]\npath = "owner/name"\nhub = true\n[model]\npath = "owner/model"\nhub = true\n')
    config = load_config(toml)
    assert (config.tasks.path, config.model.path) == ("owner/name", "owner/model")
    toml.write_text('[team]\nfile = "teem.toml"\n')
    with pytest.raises(UserError, match=f"^{tmp_path}/teem.toml: no such file$"):
        load_config(toml)


def test_the_same_project_has_the_same_ids_wherever_it_lies_and_from_wherever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    toml = project(tmp_path / "one")
    other = project(tmp_path / "two words/it's")
    monkeypatch.chdir(toml.parent)
    at_home = load_config(Path("run.toml"))
    ids = (at_home.run_id, rules_of(at_home))
    assert at_home.sampling()["tasks"]["path"] == "tasks.jsonl"
    for place in (tmp_path, other.parent):
        monkeypatch.chdir(place)
        for config in (load_config(toml), load_config(other)):
            assert (config.run_id, rules_of(config)) == ids
            checkpoint = f"{config.run.data}/checkpoints/loop-0"
            assert config.as_written(checkpoint) == "store/checkpoints/loop-0"
    (other.parent / "teams/b.jsonl").write_text('{"text": "another"}\n')
    assert rules_of(load_config(other)) != ids[1]


def test_the_path_of_a_policy_is_found_as_the_models_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    team = 'name = "boss"\nrole = "planner"\n'
    places = []
    for name in ("one", "two"):
        toml = project(tmp_path / name)
        (toml.parent / "teams/team.toml").write_text(TEAM.replace(team, team + 'policy = "small"\n'))
        toml.write_text(RUN + '[policies.small]\npath = "models/mine"\n[policies.far]\npath = "owner/x"\nhub = true\n')
        places.append(load_config(toml))
    one, two = places
    assert one.policy("small").path == str(tmp_path / "one/models/mine")
    assert one.policy("far").path == "owner/x"
    assert one.sampling() == two.sampling()
    assert one.sampling()["policies"]["small"]["path"] == "models/mine"
    stored = json.loads(json.dumps(one.to_store()))
    shutil.move(tmp_path / "one", tmp_path / "moved")
    moved = load_config(None, (), stored, tmp_path / "moved/store")
    assert moved.policy("small").path == str(tmp_path / "moved/models/mine")
    assert moved.run_id == two.run_id


def test_a_stored_configuration_opens_from_any_folder_and_after_a_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    toml = project(tmp_path / "project")
    monkeypatch.chdir(toml.parent)
    first = load_config(Path("run.toml"))
    stored = json.loads(json.dumps(first.to_store()))
    assert load_config(None, (), stored, Path("store")) == first
    monkeypatch.chdir(_empty(tmp_path))
    again = load_config(None, (), stored, toml.parent / "store")
    assert named(again) == [str(toml.parent / name) for name in FOUND]
    assert again.sampling() == first.sampling()
    assert json.loads(json.dumps(again.to_store())) == stored
    shutil.copytree(toml.parent, tmp_path / "copy")
    copied = load_config(None, (), stored, tmp_path / "copy/store")
    assert named(copied) == [str(tmp_path / "copy" / name) for name in FOUND]
    assert copied.sampling() == first.sampling()
    store_alone = load_config(None, (), stored, tmp_path / "elsewhere")
    assert named(store_alone)[1:] == [str(toml.parent / name) for name in FOUND[1:]]
    assert store_alone.sampling() == first.sampling()


def test_a_configuration_stored_by_an_older_version_is_the_same_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It kept paths as they were written, relative to the working directory."""
    project(tmp_path / "project/data/demo")
    stored = {
        "run": {"data": "data"},
        "model": {"path": "data/checkpoints/loop-0"},
        "tasks": {"path": "data/demo/tasks.jsonl"},
        "team": {"tools": {"find": {"kind": "search", "documents": "data/demo/teams/b.jsonl"}}},
    }
    monkeypatch.chdir(tmp_path / "project")
    first = load_config(None, (), stored, Path("data"))
    assert first.model_dump(include={"run", "tasks", "model"}, exclude_defaults=True) == {
        key: stored[key] for key in ("model", "tasks")
    }
    monkeypatch.chdir(_empty(tmp_path))
    again = load_config(None, (), stored, Path("../project/data"))
    assert again.tasks.path == str(tmp_path / "project/data/demo/tasks.jsonl")
    assert again.sampling() == first.sampling()
    assert rules_of(again)


def test_what_others_see_holds_paths_as_they_were_written(tmp_path: Path):
    config = load_config(project(tmp_path))
    told = config.as_told()
    assert named(load_config(None, (), told)) == WRITTEN
    assert "written" not in told


def test_nobody_sets_how_paths_were_written(tmp_path: Path):
    with pytest.raises(UserError, match="unknown key 'written'"):
        load_config(None, ("written.a=b",))


@pytest.mark.parametrize("name", ["configs/demo.toml", "demo.toml", "demo", "configs/loop.toml", "gsm8k"])
def test_files_of_the_package_are_found_from_any_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(Path(name))
    assert config.team.agents
    assert all(path in ("data", "smollm2", "") or path.startswith("data/demo/") for path in _all_paths(config))


def test_every_team_of_the_package_is_found_and_a_team_of_ones_own_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for file in (SHIPPED / "teams").glob("*.toml"):
        assert load_config(None, (f"team.file=configs/teams/{file.name}",)).team.name == file.stem
        assert load_config(None, (f"team.file={file.stem}",)).run_id == load_config(None, (f"team.file={file}",)).run_id
    (tmp_path / "mine.toml").write_text('[team]\nfile = "configs/teams/voters.toml"\n')
    assert load_config(Path("mine.toml")).team.name == "voters"
    (tmp_path / "configs/teams").mkdir(parents=True)
    (tmp_path / "configs/teams/voters.toml").write_text('name = "ours"\n')
    assert load_config(Path("mine.toml")).team.name == "ours"


def test_a_mistyped_file_of_the_package_is_told_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^configs/dmeo.toml: no such file; did you mean configs/demo.toml\?$"):
        load_config(Path("configs/dmeo.toml"))
    with pytest.raises(UserError, match=r"^--config dmeo: no such file, nor a configuration .* did you mean 'demo'\?"):
        load_config(Path("dmeo"))
    with pytest.raises(UserError, match=r"^config: team.file = 'clarks': no such file, nor a team .* mean 'clerks'\?"):
        load_config(None, ("team.file=clarks",))


def test_code_in_a_file_is_found_beside_the_toml_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code = 'topology = "play.py:Own"\n[team.tools.look]\nkind = "tools.py:Look"\n'
    files = {"project/run.toml": f'[tasks]\nverifier = "check.py:Check"\n[team]\n{code}', "cwd/check.py": "decoy"}
    for name in ("play", "tools", "check"):
        files[f"project/{name}.py"] = ""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path / "cwd")
    config = load_config(Path("../project/run.toml"))
    named = (config.team.topology, config.team.tools["look"].kind, config.tasks.verifier)
    assert named == ("../project/play.py:Own", "../project/tools.py:Look", "../project/check.py:Check")
    stored = json.loads(json.dumps(config.to_store()))
    assert stored["team"]["topology"] == f"{tmp_path}/project/play.py:Own"
    monkeypatch.chdir(tmp_path / "project")
    here = load_config(Path("run.toml"))
    assert here.team.topology == "play.py:Own"
    assert here.sampling() == config.sampling() == load_config(None, (), stored, Path("data")).sampling()


def test_the_demo_keeps_to_the_data_folder_and_its_ids_do_not_depend_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    usual = at_home(load_config(SHIPPED / "demo.toml"))
    assert usual.tasks.path == "data/demo/tasks.jsonl"
    assert not usual.written
    (tmp_path / "data/demo").mkdir(parents=True)
    (tmp_path / "data/demo/tasks.jsonl").touch()
    other = at_home(load_config(SHIPPED / "demo.toml", ("run.data=my store",)))
    assert _all_paths(other) <= {
        "my store", "smollm2", "", *(f"my store/demo/{name}.jsonl" for name in ("tasks", "owners", "homes"))
    }  # fmt: skip
    assert other.sampling() == usual.sampling()
    apart = [held_out(config, "x", "smollm2") for config in (usual, other)]
    assert apart[1].tasks.path == "my store/demo/heldout/tasks.jsonl"
    assert apart[0].sampling() == apart[1].sampling()
    assert apart[0].sampling()["tasks"]["path"] == "data/demo/heldout/tasks.jsonl"


def _empty(folder: Path) -> Path:
    """A working directory without anything in it."""
    made = folder / "empty"
    made.mkdir()
    return made


def _all_paths(config: Config) -> set[str]:
    from apportion.pipeline.core.paths import change_paths

    found: set[str] = set()
    change_paths(config.model_dump(mode="json"), lambda key, path: found.add(path) or path)
    return found
