"""The road in bfloat16, which a processor without it emulates: sampled, credited, trained a little, sampled again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from reference_engine import ReferenceEngine
from roads import Road, small_config

from apportion.pipeline.core.config import Config
from apportion.pipeline.engines.base import ScoreRequest
from apportion.pipeline.engines.running import engine_for
from apportion.pipeline.engines.vllm import VllmEngine
from apportion.pipeline.runs.sql import query
from apportion.pipeline.runs.store import Store

pytestmark = pytest.mark.engine

ROUNDING = 0.15
"""Nats per token (rms) between bfloat16 and float32 arithmetic; other weights or another prompt are a nat apart."""


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    """Three questions, two rollouts each; every rollout credited, no failure looked at."""
    from roads import annotate, sample

    from apportion.flows.common import light

    folder = tmp_path_factory.mktemp("bfloat16")
    config = small_config(folder, "half", **SMALL)
    with light():
        run = sample(config)
        annotate(config, run)
    return Road(config, run)


SMALL = {
    "model__dtype": "bfloat16", "tasks__limit": 3, "sample__solo": False, "annotate__on": "all",
    "failures__localizer": "none",
}  # fmt: skip


def test_what_is_sampled_and_credited_in_bfloat16_is_whole_and_adds_up(road: Road):
    store = Store(road.config.store_root)
    assert store.verify(road.run) == []
    totals = query(
        road.config.store_root,
        "SELECT sum(credit) AS total, any_value(v_full) - any_value(v_empty) AS gain FROM credits GROUP BY game_id",
    ).to_pylist()
    assert len(totals) >= 3
    assert all(row["total"] == pytest.approx(row["gain"], abs=1e-6) for row in totals)


def test_stored_log_probabilities_are_those_of_the_policy_up_to_rounding(road: Road):
    rows = Store(road.config.store_root).read("messages", road.run).filter(pc.field("trainable")).to_pylist()[:8]
    assert gap(road.config, rows) <= ROUNDING


def test_a_policy_trained_by_less_than_its_rounding_is_served_and_proved(road: Road, tmp_path: Path):
    """The weights move by a tenth of a bfloat16 step, and the engine, the table and the checkpoint agree on them."""
    import torch
    from roads import sample
    from transformers import AutoModelForCausalLM

    from apportion.flows.common import light
    from apportion.pipeline.training.rounding import dtype_of, save

    base, trained = Path(road.config.model.path), tmp_path / "trained"
    net = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 2e-5 * torch.sign(torch.sin(torch.arange(parameter.numel()).float())).view_as(parameter)
    save(net, trained, dtype_of(base), "test")
    for file in (*base.glob("*token*"), *base.glob("chat_template*")):
        shutil.copy(file, trained)
    config = small_config(tmp_path, "after", **SMALL, model__path=str(trained))
    with light():
        run = sample(config)
    engine = engine_for(config.model, config.data_root)
    assert engine is engine_for(config.model, config.data_root)
    assert isinstance(engine, VllmEngine)
    assert engine.unequal_weights(trained) == []
    assert len(engine.unequal_weights(base)) > 100
    rows = Store(config.store_root).read("messages", run).filter(pc.field("trainable")).to_pylist()[:8]
    assert gap(config, rows) <= ROUNDING
    policies = Store(config.store_root).read("policies", run).to_pylist()
    assert {row["policy_id"] for row in rows} == {policies[0]["policy_id"]}


def gap(config: Config, rows: list[dict]) -> float:
    """Root mean square difference (nats per token) of sampled messages to plain transformers in float32."""
    reference = ReferenceEngine(Path(config.model.path))
    differences = []
    for row in rows:
        asked = ScoreRequest(tuple(row["prompt_ids"]), tuple(row["completion_ids"]))
        temperature = row["temperature"]
        differences += list(np.array(row["sampling_logprobs"]) - at_temperature(reference, asked, temperature))
    assert len(differences) >= 20
    return float(np.sqrt(np.mean(np.square(differences))))


def at_temperature(reference: ReferenceEngine, asked: ScoreRequest, temperature: float) -> np.ndarray:
    import torch

    with torch.inference_mode():
        logits = reference._model(torch.tensor([asked.ids])).logits[0].float() / temperature
    logps = logits[len(asked.prefix_ids) - 1 : -1].log_softmax(-1)
    return logps.gather(1, torch.tensor(asked.target_ids)[:, None])[:, 0].numpy()
