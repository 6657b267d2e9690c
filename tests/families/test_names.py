"""What a method is called: typing mistakes are answered with the nearest name, and installed packages bring methods."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from apportion.pipeline.core.config import load_config
from apportion.pipeline.core.errors import UserError
from apportion.pipeline.core.registry import FAMILIES, family
from docs.render.methods import DOC, START, document

ROOT = Path(__file__).parents[2]
SHIPPED = [(one.name, name) for one in FAMILIES.values() for name in one.shipped()]


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("advantages.method=shrap", "config: advantages.method = 'shrap': no such advantage method; .*'sharp'"),
        ("advantages.shrap.lambda=1", r"config: unknown key 'advantages.shrap'; did you mean 'sharp'\?"),
        ("advantages.sharp.lamda=1", r"advantage method sharp: unknown key 'lamda'; did you mean 'lambda'\?"),
        ("advantages.sharp.lambda=-1", "lambda = -1: must be a number, at least 0 and at most 100"),
        ("advantages.metod=grpo", r"config: unknown key 'advantages.metod'; did you mean 'method'\?"),
        ("team.topology=votin", "config: team.topology = 'votin': no such topology; .*'voting'"),
        ("team.agent=[]", r"config: unknown key 'team.agent'; did you mean 'agents'\?"),
        ("team.tools.find.kind=serch", "config: team.tools.find.kind = 'serch': no such tool; .*'search'"),
        ("tasks.verifier=exat", "config: tasks.verifier = 'exat': no such verifier; .*'exact'"),
        ("tasks.source=multi_hop", "config: tasks.source = 'multi_hop': no such task source; .*'multihop'"),
        ("importer.mesages.a=1", r"config: unknown key 'importer.mesages'; did you mean 'messages'\?"),
    ],
)
def test_a_typing_mistake_is_answered_with_the_nearest_name(override: str, answer: str):
    with pytest.raises(UserError, match=answer):
        load_config(overrides=(override,))


def test_a_parameter_reaches_the_method():
    config = load_config(
        overrides=("advantages.method=sharp", "advantages.sharp.lambda=0.5", "advantages.grpo.delta=0")
    )
    sharp = config.advantages.make("sharp")
    assert (sharp.lambda_, sharp.delta) == (0.5, 1e-6)
    assert sharp.parameters["lambda"] == 0.5
    assert config.advantages.make("grpo").delta == 0


def test_a_stored_configuration_keeps_its_parameters():
    config = load_config(overrides=("advantages.sharp.lambda=0.5",))
    assert load_config(base=config.to_store()).advantages.make("sharp").lambda_ == 0.5


def test_a_name_or_a_parameter_changes_no_id_where_it_is_not_given():
    plain = load_config(overrides=("team.topology=voting",))
    assert "options" not in plain.sampling()["team"]
    assert load_config(overrides=("team.topology=voting", "team.options.a=1")).run_id != plain.run_id


def test_an_installed_package_brings_a_method(tmp_path: Path):
    (tmp_path / "plugin-1.dist-info").mkdir()
    (tmp_path / "plugin-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    points = "[apportion.verifiers]\nanything = plugin:Anything\n"
    (tmp_path / "plugin-1.dist-info" / "entry_points.txt").write_text(points)
    (tmp_path / "plugin.py").write_text(
        "class Anything:\n    name = 'anything'\n    def __init__(self, least=0): self.least = least\n"
        "    def verify(self, answer, references): return self.least\n"
    )
    code = (
        "from apportion.pipeline.core.config import load_config\n"
        "from apportion.pipeline.verifiers import get_verifier\n"
        "tasks = load_config(overrides=('tasks.verifier=anything', 'tasks.verifier_options.least=3')).tasks\n"
        "print(get_verifier(tasks.verifier, **tasks.verifier_options).verify('', []))\n"
    )
    paths = os.pathsep.join((str(tmp_path), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("3\n", "")


@pytest.mark.parametrize(("folder", "name"), SHIPPED)
def test_a_method_tells_its_source_and_what_each_parameter_means(folder: str, name: str):
    method = family(folder).find(name)
    told = inspect.getdoc(method) or ""
    assert any(f"Status: {status}" in told for status in ("source", "reported", "ours")), told
    assert "Status: ours" in told or "arXiv" in told or "github.com" in told
    for key, field in method.model_fields.items():
        assert field.description, key
    for part in family(folder).parts:
        assert hasattr(method, part), part


def test_the_page_of_methods_is_what_the_methods_say():
    assert START in DOC.read_text(encoding="utf-8")
    assert DOC.read_text(encoding="utf-8") == document(), "run `python -m docs.render.methods`"
