"""Flow: credit the agents of a run, one Prefect task a shard."""

from __future__ import annotations

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.common import exclusive, opaque, worth_retrying
from pipeline.config import Config
from pipeline.stages import annotate as stage


@task(cache_policy=NO_CACHE, task_run_name="annotate {name}", retries=1, retry_condition_fn=worth_retrying)
def annotate_shard(plan: stage.AnnotatePlan, shard: stage.Shard, name: str) -> int:
    """Annotate one shard and commit it; a second try starts it afresh."""
    return stage.run_shard(plan, shard)


@flow(name="annotate", persist_result=False)
def annotate(config: Config, run: str) -> int:
    """Annotate what is missing of `run`. Returns the number of games just played."""
    plan = stage.plan(config, run)
    with exclusive(config, run):
        return sum(annotate_shard(opaque(plan), opaque(shard), shard.name) for shard in plan.pending)
