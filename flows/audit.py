"""Flow: replay what an audit asks for, one Prefect task a shard, then make its figures."""

from __future__ import annotations

from prefect import flow

from apportion.flows.annotate import annotate_shard
from apportion.flows.common import exclusive, opaque
from apportion.pipeline.core.config import Config
from apportion.pipeline.stages import audit as stage


@flow(name="audit", persist_result=False)
def audit(config: Config, run: str) -> int:
    """Replay what is missing of `run`, then make its figures. Returns the games replayed now."""
    planned = stage.plan(config, run).plan
    with exclusive(config, run):
        pending = planned.pending if planned else ()
        games = sum(annotate_shard(opaque(planned), opaque(shard), shard.name) for shard in pending)
        stage.make(config, run)
    return games
