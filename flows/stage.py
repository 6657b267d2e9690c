"""The flow of any stage: the run's lock, one Prefect task per pending shard, retries. No word of the domain."""

from __future__ import annotations

from typing import TypeVar

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from apportion.flows.common import opaque, worth_retrying
from apportion.pipeline.stages.stage import Shard, Stage

S = TypeVar("S", bound=Shard)
R = TypeVar("R")


def play(stage: Stage[S, R]) -> list[R]:
    """Do what is pending of a stage; a shard that stands is not done again. Returns what came of each shard."""
    played: list[R] = flow(name=stage.verb, persist_result=False)(_play)(opaque(stage))
    return played


def _play(stage: Stage[S, R]) -> list[R]:
    work = task(cache_policy=NO_CACHE, retries=1, retry_condition_fn=worth_retrying)(_work)
    with stage.run.lock():
        stage.begin()
        results = [
            work.with_options(task_run_name=f"{stage.verb} {shard.name}")(opaque(stage), opaque(shard))
            for shard in stage.pending
        ]
        stage.finish(results)
    return results


def _work(stage: Stage[S, R], shard: S) -> R:
    """Do one shard and commit it; a second try starts it afresh."""
    return stage.work(shard)
