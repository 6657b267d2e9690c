"""A store is data: what somebody's manifest names is not run, unless this call names it too or trusts it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from scripted import ByteTokenizer, ScriptedEngine
from test_sample_annotate_unit import annotate_all, configured, sample_all
from typer.testing import CliRunner

from apportion.cli.app import app
from apportion.cli.common import config_of_run
from apportion.pipeline.core.config import Config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.engines.running import tokenizer_for
from apportion.pipeline.runs.run import Run
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.credit import Credit

CODE = """
from pathlib import Path
Path({ran!r}).write_text("as whoever started this")
class Team:
    name, answerer, value = "foreign", "outcome", "likelihood"
    def play(self, talk):
        (said,) = yield [talk.turn("left", [talk.question])]
        talk.answer(said, "1")
class Check:
    name = "foreign"
    def verify(self, answer, references):
        raise NotImplementedError
def tool(**options):
    raise NotImplementedError
"""
KEYS = {
    "team.topology": "foreign_code:Team",
    "tasks.verifier": "foreign_code:Check",
    "tasks.source": "foreign_code:tool",
    "team.tools.shell.kind": "foreign_code:tool",
}


@pytest.fixture
def config(tmp_path: Path, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A credited run; beside it code that leaves a trace where it is imported."""
    made = configured(tmp_path)
    sample_all(made)
    annotate_all(made)
    (tmp_path / "foreign_code.py").write_text(CODE.format(ran=str(tmp_path / "ran")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("apportion.pipeline.engines.running.tokenizer_for", lambda model, root: ByteTokenizer())
    monkeypatch.setattr("apportion.pipeline.engines.checkpoints.check_whole", lambda path: None)
    yield made
    sys.modules.pop("foreign_code", None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


def poison(config: Config, /, *keys: str, **more: Any) -> Path:
    """Have the run's manifest name foreign code; the manifest."""
    store = Store(config.store_root)
    manifest = {**(store.manifest("r") or {}), "rules": None, **more}
    for key in keys:
        place = manifest["config"]
        *path, last = key.split(".")
        for part in path:
            place = place.setdefault(part, {})
        place[last] = KEYS[key]
    return store.write_manifest("r", manifest)


def call(config: Config, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--set", f"run.data={config.data_root}"])


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("verb", ["annotate", "audit", "inject"])
@pytest.mark.parametrize("dry", [True, False])
def test_code_that_the_manifest_alone_names_is_refused(tmp_path: Path, config: Config, verb: str, key: str, dry: bool):
    manifest = poison(config, key)
    result = call(config, verb, "--run", "r", *(["--dry-run"] if dry else []))
    assert isinstance(result.exception, UserError)
    assert str(result.exception) == (
        f"{manifest}: this manifest names code to run, which is not run on its word: {key} = {KEYS[key]!r}; if you "
        f"know the code, name it in this call too (--set {key}={KEYS[key]}, or --config FILE), or say --trust"
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "verb",
    [
        ("train", "grpo", "--dry-run"), ("train", "dpo", "--dry-run"), ("export", "out"), ("runs", "verify", "r"),
        ("runs", "show", "r"), ("runs", "list"), ("sql", "SELECT * FROM trajectories"), ("runs", "remove", "r"),
    ],
)  # fmt: skip
def test_verbs_that_need_no_code_run_none(tmp_path: Path, config: Config, verb: tuple[str, ...]):
    poison(config, *KEYS)
    result = call(config, *verb)
    assert result.exit_code == 0 or isinstance(result.exception, UserError)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("how", ["--trust", "--set"])
@pytest.mark.parametrize("verb", ["annotate", "audit"])
def test_a_dry_run_imports_nothing_even_where_the_code_is_trusted(tmp_path: Path, config: Config, verb: str, how: str):
    poison(config, "team.topology")
    allowed = ["--trust"] if how == "--trust" else ["--set", "team.topology=foreign_code:Team"]
    result = call(config, verb, "--run", "r", "--dry-run", *allowed)
    assert (result.exit_code, result.exception) == (0, None)
    assert "a dry run does not import team.topology = 'foreign_code:Team': counted as if" in result.output
    assert not (tmp_path / "ran").exists()


def test_a_dry_run_reads_off_the_manifest_what_the_topology_is(tmp_path: Path, config: Config):
    told = {"path": KEYS["team.topology"], "name": "foreign", "answerer": "outcome", "value": "likelihood"}
    poison(config, "team.topology", topology=told)
    resolved, run = config_of_run(None, [f"run.data={config.data_root}"], "r", runs_code=True, trust=True)
    dry = Credit(Run(resolved, run), dry=True)
    assert not (tmp_path / "ran").exists()
    real = Credit(Run(resolved, run))
    assert (tmp_path / "ran").exists()
    assert (dry.assumed, dry.shards) == ("", real.shards)
    assert {shard.rules.answerer for shard in dry.shards} == {"outcome"}


def test_sampling_notes_what_its_topology_is(config: Config):
    assert (Store(config.store_root).manifest("r") or {})["topology"] == {
        "path": "planner_workers", "name": "planner_workers", "answerer": "outcome", "value": "likelihood",
    }  # fmt: skip


def test_what_the_call_names_itself_is_run_and_other_code_is_still_refused(tmp_path: Path, config: Config):
    poison(config, "team.topology", "tasks.verifier")
    at = f"run.data={config.data_root}"
    named = [f"{key}={KEYS[key]}" for key in ("team.topology", "tasks.verifier")]
    resolved, _ = config_of_run(None, [at, *named], "r", runs_code=True)
    assert resolved.team.topology == KEYS["team.topology"]
    file = tmp_path / "mine.toml"
    file.write_text('[team]\ntopology = "foreign_code:Team"\n[tasks]\nverifier = "foreign_code:Check"\n')
    assert config_of_run(file, [at], "r", runs_code=True)[0].tasks.verifier == KEYS["tasks.verifier"]
    assert config_of_run(None, [at], "r", runs_code=True, trust=True)[0].tasks.verifier == KEYS["tasks.verifier"]
    with pytest.raises(UserError, match=r"on its word: tasks\.verifier = 'foreign_code:Check'; if"):
        config_of_run(None, [at, named[0]], "r", runs_code=True)
    with pytest.raises(UserError, match=r"on its word: team\.topology = 'foreign_code:Team'; if"):
        config_of_run(None, [at, named[1]], "r", runs_code=True)
    assert config_of_run(None, [at, "team.topology=solo", "tasks.verifier=exact"], "r", runs_code=True)


def test_what_the_code_is_given_must_be_named_too(config: Config):
    manifest = (Store(config.store_root).manifest("r") or {})["config"]
    manifest["team"]["tools"]["shell"] = {"kind": "os:system", "options": {"command": "touch /tmp/x"}}
    poison(config, config=manifest)
    at, kind = f"run.data={config.data_root}", "team.tools.shell.kind=os:system"
    told = r"word: team\.tools\.shell\.options = '{\"command\": \"touch /tmp/x\"}'; .*shell\.options=\.\.\.,"
    with pytest.raises(UserError, match=told):
        config_of_run(None, [at, kind], "r", runs_code=True)
    same = 'team.tools.shell.options={command = "touch /tmp/x"}'
    assert config_of_run(None, [at, kind, same], "r", runs_code=True)


def test_a_store_is_worked_on_where_it_is_not_where_its_manifest_says(tmp_path: Path, config: Config):
    store = Store(config.store_root)
    manifest = store.manifest("r") or {}
    manifest["config"]["run"]["data"] = str(tmp_path / "elsewhere")
    store.write_manifest("r", manifest)
    assert config_of_run(None, [f"run.data={config.data_root}"], "r")[0].data_root == config.data_root


def test_code_beside_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("builtins.input", lambda *asked: "y")  # transformers would ask whether to run it
    model = tmp_path / "model"
    model.mkdir()
    code = CODE.format(ran=str(tmp_path / "ran"))
    (model / "own.py").write_text(code + "\nfrom transformers import PretrainedConfig as C\nclass Config(C): pass\n")
    auto = {"AutoConfig": "own.Config", "AutoTokenizer": ["own.Tokenizer", None]}
    (model / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": auto}))
    (model / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Tokenizer", "auto_map": auto}))
    section = Config().model.model_copy(update={"path": str(model)})
    with pytest.raises(UserError, match="contains custom code which must be executed"):
        tokenizer_for(section, tmp_path)
    assert not (tmp_path / "ran").exists()
