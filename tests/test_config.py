"""Configuration: what is wrong is named with its cure, and a run's id follows from what its rows depend on."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from apportion.pipeline.core.config import Config, load_config
from apportion.pipeline.core.errors import UserError
from docs.render.configuration import DOC, document

PLANNER = '{name="boss", role="planner"}'


def refusal(*overrides: str, file: Path | None = None) -> str:
    """The one line with which a configuration is refused."""
    with pytest.raises(UserError) as caught:
        load_config(file, overrides)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("override", "key", "nearest"),
    [
        ("sampel.seed=1", "sampel", "sample"),
        ("sample.tempeature=1", "sample.tempeature", "temperature"),
        ('team.agents=[{name="a", role="planner", sistem="x"}]', "team.agents.0.sistem", "system"),
        ('team.tools.finder={kind="search", documnets="x"}', "team.tools.finder.documnets", "documents"),
        ('team.solo={name="a", role="solo", rool="x"}', "team.solo.rool", "role"),
    ],
)
def test_unknown_key_is_named_with_its_nearest_neighbour(override: str, key: str, nearest: str):
    assert f"unknown key {key!r}; did you mean {nearest!r}?" in refusal(override)


def test_unknown_key_far_from_all_lists_the_known_ones():
    line = refusal("run.zzzzqqq=1")
    assert "unknown key 'run.zzzzqqq'" in line
    assert "data, held_out, name, seed" in line


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("sample.temperature=-1", "sample.temperature = -1"),
        ("sample.top_p=1.5", "sample.top_p = 1.5"),
        ("sample.group_size=0", "sample.group_size = 0"),
        ("sample.max_tokens=many", "sample.max_tokens = 'many'"),
        ("annotate.on=failures", "annotate.on = 'failures'"),
        ("run.name=1two", "run.name = '1two'"),
        ('team.agents=[{name="a b", role="planner"}]', "team.agents.0.name = 'a b'"),
        ("team=3", "team = 3"),
    ],
)
def test_bad_value_names_the_field_and_the_value(override: str, field: str):
    assert refusal(override).startswith(f"config: {field}: ")


def numeric(model: type[BaseModel] = Config, above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key that holds a number, in whatever list, table or choice it stands."""
    for key, field in model.model_fields.items():
        parts = [field.annotation]
        while parts:
            part = parts.pop()
            parts += get_args(part)
            if part in (int, float):
                yield above + key, field
            elif isinstance(part, type) and issubclass(part, BaseModel):
                yield from numeric(part, f"{above}{key}.")


NUMBERS = dict(numeric())


def test_every_number_of_the_configuration_has_bounds_on_both_sides():
    assert len(NUMBERS) > 40
    for name, field in NUMBERS.items():
        marks = {mark for one in field.metadata for mark in ("gt", "ge", "lt", "le") if hasattr(one, mark)}
        assert marks & {"gt", "ge"}, f"{name} has no lower bound"
        assert marks & {"lt", "le"}, f"{name} has no upper bound"


def set_to(name: str, value: str) -> str:
    """The override that puts `value` there; what stands in a list or table is written whole."""
    if name.startswith("team.tools."):
        return f'team.tools.t={{kind="search", documents="d", {name.removeprefix("team.tools.")}={value}}}'
    return f"{name}={value}"


@pytest.mark.parametrize("name", NUMBERS)
def test_no_number_may_be_endless_or_none(name: str):
    for value in ("inf", "-inf", "nan", "-1e300", "1e300", str(10**30), "-7"):
        line = refusal(set_to(name, value))
        assert line.startswith("config: "), line
        assert name.rpartition(".")[2] in line
        assert "number, " in line


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.learning_rate=inf", "config: train.learning_rate = inf: must be a number, above 0 and at most 1"),
        ("train.learning_rate=1e9", "= 1000000000.0: must be a number, above 0 and at most 1"),
        ("run.seed=-1", "config: run.seed = -1: must be a whole number, at least 0 and below 4,294,967,296"),
        ("sample.max_tokens=many", "= 'many': must be a whole number, at least 1 and at most 16,777,216"),
        ("tasks.options.rate=nan", "config: tasks.options = {'rate': nan}: nan is not a finite number"),
        ('team.tools.x={kind="a.b", options={deep=[{rate=inf}]}}', "inf is not a finite number"),
    ],
)
def test_a_number_out_of_its_range_is_refused_with_the_range(override: str, said: str):
    assert said in refusal(override)


def test_a_number_of_thousands_of_digits_is_one_short_line():
    assert len(refusal(f"sample.top_k={'9' * 5000}")) < 400


@pytest.mark.parametrize("value", ["train.learning_rate=1", "train.learning_rate=1e-12", "run.seed=4294967295"])
def test_the_ends_of_a_range_are_taken(value: str):
    load_config(None, (value,))


def test_names_that_become_file_names_have_a_length():
    load_config(None, (f"run.name={'a' * 128}",))
    assert refusal(f"run.name={'a' * 300}") == "config: run.name is too long (300 characters, at most 128)"
    long = f'team.agents=[{{name="{"a" * 300}", role="planner"}}]'
    assert refusal(long) == "config: team.agents.0.name is too long (300 characters, at most 128)"


def test_missing_value_names_the_field():
    assert refusal('team.agents=[{name="a"}]') == "config: 'team.agents.0.role' is missing"


def test_further_faults_are_counted():
    assert refusal("sample.top_p=2", "sample.top_k=-1", "run.name=1").endswith("(and 2 more)")


@pytest.mark.parametrize(
    ("text", "value"),
    [("data/a.jsonl", "data/a.jsonl"), ('"a b"', "a b"), ("", ""), ("a=b", "a=b"), ("it's", "it's")],
)
def test_set_takes_plain_and_quoted_strings(text: str, value: str):
    assert load_config(None, (f"tasks.path={text}",)).tasks.path == value


def test_set_takes_numbers_booleans_lists_and_tables():
    config = load_config(
        None,
        (
            "sample.solo=false",
            "sample.temperature=0.25",
            "sample.group_size=7",
            'team.tools.find={kind="search", documents=["a.txt", "b.txt"]}',
            "tasks.source=mine:tasks",
            "tasks.options.n=5",
        ),
    )
    assert config.sample.solo is False
    assert config.sample.temperature == 0.25
    assert config.sample.group_size == 7
    assert config.team.tools["find"].documents == ["a.txt", "b.txt"]
    assert config.tasks.options == {"n": 5}


def test_set_on_one_key_leaves_its_neighbours(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text("[sample]\ngroup_size = 8\ntop_k = 3\n")
    config = load_config(file, ("sample.top_k=5", "sample.top_k=6"))
    assert (config.sample.group_size, config.sample.top_k) == (8, 6)


@pytest.mark.parametrize("override", ["sample", "=3", " =3"])
def test_set_without_key_or_value_says_how_to_write_it(override: str):
    assert "write it as section.key=value" in refusal(override)


def test_overrides_beat_the_file_and_the_file_beats_the_stored_configuration(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text("[sample]\ntop_k = 2\nmax_tokens = 20\n")
    stored = {"sample": {"top_k": 1, "max_tokens": 10, "group_size": 9}}
    config = load_config(file, ("sample.top_k=3",), stored)
    assert (config.sample.top_k, config.sample.max_tokens, config.sample.group_size) == (3, 20, 9)
    assert stored == {"sample": {"top_k": 1, "max_tokens": 10, "group_size": 9}}


def test_stored_configuration_reads_back_as_it_was():
    config = load_config(None, (f"team.agents=[{PLANNER}]", "run.name=mine", "annotate.cue=so:"))
    assert load_config(None, (), config.model_dump(mode="json")) == config


def test_toml_error_is_one_line_with_file_and_place(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text("[sample]\ntop_k = = 3\n")
    line = refusal(file=file)
    assert line.startswith(f"{file}: not valid TOML: ")
    assert "line 2" in line


def test_file_that_is_no_text_is_one_line(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_bytes(b"\xff\xfe\x00")
    assert refusal(file=file).startswith(f"{file}: not valid TOML: ")


def test_missing_file_names_a_near_one(tmp_path: Path):
    (tmp_path / "gsm8k.toml").write_text("")
    assert refusal(file=tmp_path / "gms8k.toml").endswith(f"did you mean {tmp_path / 'gsm8k.toml'}?")


def test_folder_in_place_of_a_file_is_one_line(tmp_path: Path):
    assert refusal(file=tmp_path).startswith(f"{tmp_path}: cannot be read: ")


def test_team_file_is_merged_below_what_stands_beside_it(tmp_path: Path):
    team = tmp_path / "team.toml"
    team.write_text(
        'name = "duo"\nmax_turns = 3\n[tools.find]\nkind = "search"\nk = 2\n'
        '[[agents]]\nname = "boss"\nrole = "planner"\n'
    )
    file = tmp_path / "run.toml"
    file.write_text(f'[team]\nfile = "{team}"\nmax_turns = 4\n')
    config = load_config(file, ("team.tools.find.documents=d.txt",))
    assert (config.team.name, config.team.max_turns) == ("duo", 4)
    assert [agent.name for agent in config.team.agents] == ["boss"]
    assert (config.team.tools["find"].k, config.team.tools["find"].documents) == (2, "d.txt")


@pytest.mark.parametrize("by", ["set", "config file"])
def test_team_file_takes_the_place_of_a_stored_team_whole(tmp_path: Path, by: str):
    stored = load_config(
        None,
        (
            "team.name=old",
            "team.max_turns=9",
            f"team.agents=[{PLANNER}]",
            'team.tools.find={kind="search", documents="old.txt"}',
            'team.solo={name="alone", role="solo"}',
            "sample.group_size=7",
        ),
    ).model_dump(mode="json")
    before = deepcopy(stored)
    team = tmp_path / "team.toml"
    team.write_text(
        'name = "new"\n[tools.look]\nkind = "search"\ndocuments = "new.txt"\n'
        '[[agents]]\nname = "chief"\nrole = "planner"\n'
    )
    file = None
    if by == "config file":
        file = tmp_path / "run.toml"
        file.write_text(f'[team]\nfile = "{team}"\n')
    first = () if file else (f"team.file={team}",)
    config = load_config(file, (*first, "team.tools.look.k=3", "team.topology=solo"), stored)
    expected = load_config(None, (f"team.file={team}",)).team
    assert config.team.name == "new"
    assert (config.team.agents, config.team.max_turns, config.team.solo) == (expected.agents, expected.max_turns, None)
    assert list(config.team.tools) == ["look"]
    assert (config.team.tools["look"].documents, config.team.tools["look"].k) == (str(tmp_path / "new.txt"), 3)
    assert (config.team.topology, config.sample.group_size) == ("solo", 7)
    assert stored == before


def test_missing_team_file_is_named(tmp_path: Path):
    assert refusal(f"team.file={tmp_path / 'team.toml'}") == f"{tmp_path / 'team.toml'}: no such file"


def test_run_id_is_stable_and_a_name_replaces_it():
    assert load_config().run_id == load_config().run_id
    assert load_config().run_id.startswith("r")
    assert load_config(None, ("run.name=mine",)).run_id == "mine"


@pytest.mark.parametrize(
    "override",
    [
        "run.seed=1",
        "sample.temperature=0.1",
        "sample.group_size=5",
        "sample.shard_size=64",
        "tasks.path=other.jsonl",
        "tasks.verifier=f1",
        "model.path=other",
        "model.dtype=float16",
        "team.max_turns=2",
        f"team.agents=[{PLANNER}]",
    ],
)
def test_run_id_changes_with_what_the_rows_depend_on(override: str):
    assert load_config(None, (override,)).run_id != load_config().run_id


@pytest.mark.parametrize(
    "override",
    ["annotate.on=all", "annotate.masking=drop", "annotate.cue=so:", "annotate.limit=3", "run.data=elsewhere"],
)
def test_run_id_does_not_change_with_what_comes_after_sampling(override: str):
    assert load_config(None, (override,)).run_id == load_config().run_id


def test_everything_written_lies_below_the_data_folder():
    config = load_config(None, ("run.data=here",))
    assert config.data_root == Path("here")
    assert config.store_root == Path("here/runs")


def test_the_page_of_keys_is_the_configuration_as_it_is():
    assert DOC.read_text(encoding="utf-8") == document(), "run `python -m docs.render.configuration`"


def test_every_key_says_what_it_means():
    unsaid = [line for line in document().splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert not unsaid


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("tasks.path=a.jsonl", "tasks.options.threshold=0.9"), "tasks.verifier_options.threshold="),
        (("tasks.options.n=5",), "tasks.source, which is not set"),
    ],
)
def test_options_without_effect_are_refused_with_the_cure(overrides: tuple[str, ...], said: str):
    with pytest.raises(UserError, match=said) as caught:
        load_config(None, overrides)
    assert "\n" not in str(caught.value)


def test_a_verifiers_settings_are_part_of_what_rows_depend_on():
    set_to = load_config(None, ("tasks.verifier=f1", "tasks.verifier_options.threshold=0.9"))
    assert set_to.tasks.verifier_options == {"threshold": 0.9}
    assert set_to.run_id != load_config(None, ("tasks.verifier=f1",)).run_id
    assert "verifier_options" not in load_config().sampling()["tasks"]


def test_a_manifest_of_an_earlier_version_opens_with_options_that_never_had_an_effect(tmp_path: Path):
    stored = load_config(None, ("tasks.path=a.jsonl",)).to_store()
    stored["tasks"]["options"] = {"threshold": 0.9}
    opened = load_config(None, ("annotate.on=all",), stored, tmp_path)
    assert opened.tasks.options == {"threshold": 0.9}
    with pytest.raises(UserError, match="have no effect"):
        load_config(None, ("tasks.options.threshold=0.8",), stored, tmp_path)


AGENT = '{{name="boss", role="planner", policy="{}"}}'


def test_a_policy_is_the_model_but_for_what_it_says_also_after_it_was_stored(tmp_path: Path):
    config = load_config(None, ("policies.small.path=there", "model.dtype=float32", "model.max_model_len=512"))
    small = config.policy("small")
    assert (small.path, small.dtype, small.max_model_len) == ("there", "float32", 512)
    assert config.policy("") == config.model
    stored = load_config(None, ("model.dtype=bfloat16",), config.to_store(), tmp_path)
    assert (stored.policy("small").dtype, stored.policy("small").max_model_len) == ("bfloat16", 512)


def test_an_unknown_policy_is_named_with_the_nearest():
    line = refusal("policies.small.path=x", f"team.agents=[{AGENT.format('smal')}]")
    assert line == "config: team.agents: 'boss' has policy 'smal', which is not there; did you mean 'small'?"
    assert "there are: none; add [policies.smal]" in refusal(f"team.agents=[{AGENT.format('smal')}]")
    assert "unknown key 'policies.small.pth'; did you mean 'path'?" in refusal("policies.small.pth=x")


def test_a_runs_id_depends_on_the_policies_that_its_agents_have():
    team, other = (f"team.agents=[{AGENT.format(name)}]" for name in ("", "small"))
    plain = load_config(None, (f"team.agents=[{PLANNER}]",)).run_id
    assert load_config(None, ("policies.small.path=x", team)).run_id == plain
    ids = {load_config(None, (f"policies.small.path={path}", other)).run_id for path in ("x", "y")}
    assert len(ids | {plain}) == 3
    assert load_config(None, ("policies.small.path=x", "policies.small.gpu_memory=0.2", other)).run_id in ids
