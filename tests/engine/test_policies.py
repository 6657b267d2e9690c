"""Two policies in one team on a real vLLM: sampled side by side, credited together, trained apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from roads import embedded_model, sample, small_config

from apportion.flows.common import light
from apportion.flows.stage import play
from apportion.pipeline.core.config import Config
from apportion.pipeline.engines.policy import policies_of, voices_of
from apportion.pipeline.engines.vllm import VllmEngine
from apportion.pipeline.runs.run import Run
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages import train
from apportion.pipeline.stages.credit import Credit

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The clerks, of whom the one with the owners' register speaks with weights of its own."""
    folder = tmp_path_factory.mktemp("policies")
    usual = small_config(
        folder, "two", tasks__limit=4, sample__group_size=3, sample__shard_size=12, sample__solo=False,
        sample__temperature=1.0, annotate__on="all", export__validation=0.0,
        model__kv_cache_gib=1, train__limit=6, train__batch_size=6, train__micro_batch_size=3,
    )  # fmt: skip
    values = usual.model_dump(mode="json")
    values["policies"] = {"clerk": {"path": str(disturbed(embedded_model(), folder / "clerk"))}}
    for agent in values["team"]["agents"]:
        agent["policy"] = "clerk" if agent["name"] == "owners" else ""
    return Config.model_validate(values)


def disturbed(base: Path, folder: Path) -> Path:
    """A copy of a checkpoint whose final norm is a little larger."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    tensors = load_file(base / "model.safetensors")
    tensors["model.norm.weight"] *= 1.05
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_two_policies_of_a_team_are_sampled_credited_and_trained_apart(config: Config):
    policies = policies_of(config)
    team, clerk = policies.team, policies.named("clerk")
    with light():
        run = sample(config)
        play(Credit(Run(config, run)))
    store = Store(config.store_root)
    messages = pl.DataFrame(store.read("messages", run)).filter(pl.col("policy_id").is_not_null())
    wrote = set(messages.select("agent", "policy_id").unique().iter_rows())
    assert {("planner", team.id), ("owners", clerk.id)} <= wrote <= {
        ("planner", team.id), ("owners", clerk.id), ("homes", team.id),
    }  # fmt: skip
    assert {row["policy_id"] for row in store.read("policies", run).to_pylist()} == {team.id, clerk.id}
    credits = pl.DataFrame(store.read("credits", run))
    assert {"owners", "planner"} <= set(credits["player"])

    voices = voices_of(policies.of(["planner", "owners", "homes"]))
    assert voices["planner"].engine is voices["homes"].engine is not voices["owners"].engine
    for policy, agent in ((team, "planner"), (clerk, "owners")):
        engine = voices[agent].engine
        assert isinstance(engine, VllmEngine)
        assert engine.unequal_weights(policy.checkpoint) == []

    planned = train.plan(config, run, "grpo", policy="clerk")
    assert {(row["agent"], row["policy_id"]) for row in planned.data.to_pylist()} == {("owners", clerk.id)}
    before = team.digests, clerk.digests
    out = train.run(planned)
    assert (team.digests, clerk.digests) == before
    trained = clerk.at(str(out))
    assert trained.row["parent"] == clerk.id != trained.id
    assert train.plan(config, run, "grpo").job != planned.job
    assert store.verify(run) == []
