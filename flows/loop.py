"""Flow: sample, annotate, update, put the new weights into vLLM, and again."""

from __future__ import annotations

from collections.abc import Callable

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from apportion.flows.common import opaque
from apportion.flows.stage import play
from apportion.pipeline.core.config import Config
from apportion.pipeline.engines.policy import policies_of
from apportion.pipeline.stages import train as training
from apportion.pipeline.stages.blame import Blame
from apportion.pipeline.stages.credit import Credit
from apportion.pipeline.stages.loop import Round, plan
from apportion.pipeline.stages.sample import Sample


@task(cache_policy=NO_CACHE, task_run_name="train {name}")
def train_round(planned: training.TrainPlan, name: str) -> str:
    """Train once; a finished checkpoint stands."""
    return str(training.run(planned))


@flow(name="loop", persist_result=False)
def loop(config: Config, tell: Callable[[Round, str], None] | None = None) -> str:
    """Run the configured iterations, going on where an earlier call stopped. Returns the last policy's checkpoint.

    Before an iteration samples, its weights are put into the running engine and compared with the checkpoint. An
    iteration in which there is nothing to learn (every group all right or all wrong) leaves the policy as it is.
    """
    model = config.model.path
    for planned_round in plan(config):
        one = planned_round.by(model)
        sampling = Sample(one.config)
        play(sampling)
        run = sampling.run.id
        play(Credit(sampling.run))
        play(Blame(sampling.run))
        if tell:
            tell(one, run)
        try:
            planned = training.plan(one.config, run, config.loop.trainer, one.out, one.number)
        except training.NothingToLearnError:
            continue
        model = train_round(opaque(planned), run)
    policies_of(config).team.at(model).engine()
    return model
