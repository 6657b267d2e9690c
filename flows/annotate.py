"""Flow: credit the agents of a run and blame its failures, one Prefect task a shard."""

from __future__ import annotations

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from apportion.flows.common import exclusive, opaque, worth_retrying
from apportion.pipeline.core.config import Config
from apportion.pipeline.stages import blame as failures
from apportion.pipeline.stages import credit as stage


@task(cache_policy=NO_CACHE, task_run_name="annotate {name}", retries=1, retry_condition_fn=worth_retrying)
def annotate_shard(plan: stage.AnnotatePlan, shard: stage.Shard, name: str) -> int:
    """Annotate one shard and commit it; a second try starts it afresh."""
    return stage.run_shard(plan, shard)


@task(cache_policy=NO_CACHE, task_run_name="{name}", retries=1, retry_condition_fn=worth_retrying)
def failures_shard(plan: failures.FailurePlan, shard: failures.Shard, name: str) -> int:
    """Work through one shard's failures and commit what was found; a second try starts it afresh."""
    return failures.run_shard(plan, shard)


@flow(name="annotate", persist_result=False)
def annotate(config: Config, run: str) -> tuple[int, int]:
    """Annotate what is missing of `run`. Returns the games just played and the failures just looked at."""
    credit, blame = stage.plan(config, run), failures.plan(config, run)
    with exclusive(config, run):
        games = sum(annotate_shard(opaque(credit), opaque(shard), shard.name) for shard in credit.pending)
        failed = sum(failures_shard(opaque(blame), opaque(shard), shard.name) for shard in blame.pending)
    return games, failed
