"""Flow: plant errors in the successes of a run and play them on, one Prefect task a shard."""

from __future__ import annotations

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from apportion.flows.common import exclusive, opaque, worth_retrying
from apportion.pipeline.core.config import Config
from apportion.pipeline.stages import inject as stage


@task(cache_policy=NO_CACHE, task_run_name="inject {name}", retries=1, retry_condition_fn=worth_retrying)
def inject_shard(plan: stage.InjectPlan, shard: stage.Shard, name: str) -> stage.Injected:
    """Plant the faults of one shard and commit it; a second try starts it afresh."""
    return stage.run_shard(plan, shard)


@flow(name="inject", persist_result=False)
def inject(config: Config, run: str) -> stage.Injected:
    """Plant what is missing in `run`; what came of the faults planted now."""
    planned = stage.plan(config, run)
    with exclusive(config, run):
        done = [inject_shard(opaque(planned), opaque(shard), shard.name) for shard in planned.pending]
    return sum(done, stage.Injected(0, 0, 0))
