"""Flow: sample the trajectories of a run, one Prefect task a shard."""

from __future__ import annotations

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from apportion.flows.common import exclusive, opaque, worth_retrying
from apportion.pipeline.core.config import Config
from apportion.pipeline.stages import sample as stage


@task(cache_policy=NO_CACHE, task_run_name="sample {name}", retries=1, retry_condition_fn=worth_retrying)
def sample_shard(plan: stage.SamplePlan, shard: stage.Shard, name: str) -> int:
    """Sample one shard and commit it; a second try starts it afresh."""
    return len(stage.run_shard(plan, shard))


@flow(name="sample", persist_result=False)
def sample(config: Config) -> str:
    """Sample what is missing of the configured run. Returns the run's id."""
    plan = stage.plan(config)
    with exclusive(config, config.run_id):
        stage.prepare(plan)
        for shard in plan.pending:
            sample_shard(opaque(plan), opaque(shard), shard.name)
    return config.run_id
