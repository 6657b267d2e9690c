"""How the command line plays any stage: refuse early, foretell or do, with bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from apportion.cli.common import say

if TYPE_CHECKING:
    from apportion.pipeline.stages.stage import Shard, Stage

    S = TypeVar("S", bound=Shard)
R = TypeVar("R")


def carry_out(stage: Stage[S, R], dry_run: bool) -> Sequence[R] | None:
    """What came of the shards that were pending; None for a dry run, which says what would be done and no more."""
    stage.ready()
    return perform(stage, dry_run)


def perform(stage: Stage[S, R], dry_run: bool) -> Sequence[R] | None:
    """As `carry_out`, of a stage that is ready."""
    if dry_run:
        for line in stage.foretell():
            say(line)
        return None
    if not stage.scheduled:
        from apportion.pipeline.stages.stage import play as play_here

        return play_here(stage)
    from apportion.cli.progress import Bars
    from apportion.flows.common import light
    from apportion.flows.stage import play

    with light(), Bars():
        return play(stage)
