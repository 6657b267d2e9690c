"""The main road on a real model: sampled with vLLM, credited by exact Shapley values, stored in real tables."""

from __future__ import annotations

import math
import os

import pyarrow.compute as pc
import pytest
from reference_engine import ReferenceEngine
from roads import Road

from apportion.pipeline.core.config import AuditConfig
from apportion.pipeline.engines.base import SampleRequest
from apportion.pipeline.engines.checkpoints import resolve_model
from apportion.pipeline.engines.running import engine_for
from apportion.pipeline.runs.run import Run
from apportion.pipeline.runs.sql import query
from apportion.pipeline.runs.store import Store
from apportion.pipeline.stages.credit import Credit
from apportion.pipeline.trajectory.render import NEUTRAL
from apportion.pipeline.values.likelihood import ask

pytestmark = pytest.mark.engine


def test_every_table_of_the_road_is_filled_and_whole(road: Road):
    store = Store(road.config.store_root)
    sampled = ("tasks", "policies", "trajectories", "messages")
    blamed = ("steps", "localizations")
    for table in (*sampled, "games", "coalitions", "interactions", "credits", "message_credits", *blamed):
        assert store.read(table, road.run).num_rows > 0, table
    assert store.verify(road.run) == []


def test_continuations_of_a_failure_share_its_prefix_and_cost_only_what_is_new(road: Road):
    rows = query(
        road.config.store_root,
        "SELECT t.branch_message_index AS branch, c.message_index, c.completion_ids IS NULL AS repeated, c.text, "
        "p.text AS recorded FROM trajectories t JOIN messages c USING (run_id, trajectory_id) LEFT JOIN messages p "
        "ON p.trajectory_id = t.parent_trajectory_id AND p.message_index = c.message_index "
        "WHERE t.origin = 'monte_carlo'",
    ).to_pylist()
    assert rows
    before = [row for row in rows if row["message_index"] < row["branch"]]
    assert all(row["repeated"] and row["text"] == row["recorded"] for row in before)
    assert all(not row["repeated"] for row in rows if row["message_index"] == row["branch"])


def test_credits_of_exact_games_sum_to_what_the_team_added(road: Road):
    rows = query(
        road.config.store_root,
        "SELECT sum(credit) AS total, any_value(v_full) - any_value(v_empty) AS gain, max(abs(credit)) AS most "
        "FROM credits GROUP BY game_id",
    ).to_pylist()
    assert len(rows) >= 8
    assert all(abs(row["total"] - row["gain"]) <= 1e-6 for row in rows)
    assert sum(row["most"] > 0.05 for row in rows) >= len(rows) / 2


def test_message_credits_sum_to_their_agents_credit(road: Road):
    rows = query(
        road.config.store_root,
        "SELECT c.credit, m.total FROM credits c JOIN (SELECT game_id, agent, sum(credit) AS total FROM "
        "message_credits WHERE credit IS NOT NULL GROUP BY ALL) m ON m.game_id = c.game_id AND m.agent = c.player",
    ).to_pylist()
    assert rows
    assert all(abs(row["credit"] - row["total"]) <= 1e-6 for row in rows)


def test_the_answering_message_has_no_credit_of_its_own(road: Road):
    answers = query(
        road.config.store_root,
        "SELECT mc.credit FROM message_credits mc JOIN messages m USING (run_id, trajectory_id, message_index) "
        "WHERE m.is_outcome",
    )
    assert answers.num_rows > 0
    assert answers["credit"].null_count == answers.num_rows


def test_stored_logprobs_are_the_samplers_own(road: Road):
    """exp(log p) of the sampled tokens, read again from the stored prompt by transformers at the same temperature."""
    import torch

    messages = Store(road.config.store_root).read("messages", road.run)
    rows = messages.filter(pc.field("trainable")).slice(0, 6).to_pylist()
    path = resolve_model(road.config.model.path, data_root=road.config.data_root)
    model = ReferenceEngine(path)._model
    for row in rows:
        prompt, completion = row["prompt_ids"], row["completion_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + completion])).logits[0].float() / row["temperature"]
        expected = logits[len(prompt) - 1 : -1].log_softmax(-1)[range(len(completion)), completion]
        assert torch.allclose(expected, torch.tensor(row["sampling_logprobs"]), atol=2e-3)


def test_values_agree_with_plain_transformers(road: Road):
    """vLLM with shared prefixes against one plain forward pass a prompt, both in float32."""
    asked = [request for one in _asked(road)[:8] for request in one.requests]
    path = resolve_model(road.config.model.path, data_root=road.config.data_root)
    reference = ReferenceEngine(path).score(asked)
    ours = engine_for(road.config.model, road.config.data_root).score(asked)
    means = [
        (sum(a.logprobs) / len(a.logprobs), sum(b.logprobs) / len(b.logprobs))
        for a, b in zip(ours, reference, strict=True)
    ]
    assert len(means) >= 20
    values = [math.exp(mean) for mean, _ in means]
    assert max(values) - min(values) >= 0.2
    assert max(abs(a - b) for a, b in means) <= 1e-3


def test_a_prompt_already_in_the_cache_is_never_read_from_uninitialised_memory(road: Road):
    engine = engine_for(road.config.model, road.config.data_root)
    requests = list(_asked(road)[0].requests)
    engine.reset_prefix_cache()
    cold = engine.score(requests)
    warm = engine.score(requests)
    assert any(score.cached_tokens for score in cold)
    for first, second in zip(cold, warm, strict=True):
        assert second.logprobs == pytest.approx(first.logprobs, abs=2e-3)
        assert second.cached_tokens < second.prompt_tokens - len(second.logprobs)


def test_seeded_sampling_beyond_one_scheduler_step(road: Road):
    """More prompt tokens than vLLM schedules at once: no prompt may be cut in two; a seed repeats its sample."""
    engine = engine_for(road.config.model, road.config.data_root)
    prompts = [tuple(range(1000 + 7 * i, 1000 + 7 * i + 150)) for i in range(32)]
    requests = [SampleRequest(prompt, max_tokens=2, seed=i, temperature=0.7) for i, prompt in enumerate(prompts)]
    first = engine.sample(requests)
    assert len(first) == 32
    again = engine.sample(requests[:4])
    assert [sample.token_ids for sample in again] == [sample.token_ids for sample in first[:4]]


def test_the_engine_leaves_the_environment_of_later_programs_alone(road: Road):
    """vLLM preloads libraries into whatever is started after it; a path with a space made every program complain."""
    engine_for(road.config.model, road.config.data_root)
    assert "libgomp" not in os.environ.get("LD_PRELOAD", "")


def test_running_again_does_nothing(road: Road):
    from apportion.pipeline.stages.sample import Sample

    assert Sample(road.config).pending == ()
    assert Credit(Run(road.config, road.run)).pending == ()


def _asked(road: Road):
    planned = Credit(Run(road.config, road.run))
    engine = engine_for(road.config.model, road.config.data_root)
    games = [one for shard in planned.shards for one in planned.games_of(shard).planned]
    return [ask(one.game, one.masks, engine.tokenizer) for one in games]


def test_an_audit_replays_without_an_agent_and_holds_the_credit_against_it(road: Road):
    """The last test of the run: it adds games of its own."""
    from apportion.flows.common import light
    from apportion.flows.stage import play
    from apportion.pipeline.stages.audit import Audit

    config = road.config.model_copy(update={"audit": AuditConfig(trajectories=2, samples=2)})
    with light():
        assert sum(play(Audit(Run(config, road.run)))) > 0
        assert play(Audit(Run(config, road.run))) == []
    store = Store(config.store_root)
    said = query(
        config.store_root,
        "SELECT m.text FROM trajectories t JOIN messages m USING (run_id, trajectory_id) WHERE t.origin = 'replay' "
        "AND len(t.removed) > 0 AND m.agent = t.removed[1] AND m.role = 'assistant' "
        "AND m.message_index >= t.branch_message_index",
    )
    assert set(said["text"].to_pylist()) == {NEUTRAL}
    figures = {(row["check"], row["metric"]): row for row in store.read("audit", road.run).to_pylist()}
    assert figures["replay", "trajectories"]["value"] == 2
    assert ("fidelity", "spearman") in figures
    assert store.verify(road.run) == []
