"""What every flow shares: the lock of its run and a cheap start."""

from __future__ import annotations

import functools
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.client.schemas.objects import State
from prefect.utilities.annotations import quote

from pipeline.child import end_with_parent
from pipeline.config import Config
from pipeline.store import Store


@contextmanager
def exclusive(config: Config, run: str) -> Iterator[None]:
    """One process at a time works on a run; the kernel lets go of the lock even after kill -9."""
    with Store(config.store_root).lock(run):
        yield


@contextmanager
def light() -> Iterator[None]:
    """Without a server there is nobody to send heartbeats to, and they cost a second a flow."""
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    if PREFECT_API_URL.value():
        yield
        return
    _bind_server_to_this_process()
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def _bind_server_to_this_process() -> None:
    """Have the kernel end Prefect's temporary server when this process dies, also by kill -9 (Linux)."""
    if sys.platform != "linux":
        return
    from prefect.server.api import server

    bound = types.ModuleType("subprocess")
    vars(bound).update(vars(subprocess))
    popen = functools.partial(subprocess.Popen, preexec_fn=end_with_parent)
    vars(bound)["Popen"] = popen
    vars(server)["subprocess"] = bound


def worth_retrying(task: object, run: object, state: State[object]) -> bool:
    """Try a shard again after a fault of disk or network; the same input would fail the same way again."""
    return isinstance(state.result(raise_on_failure=False), OSError)


def opaque(value: object) -> Any:
    """Hand `value` to a task as it is: Prefect would otherwise walk through every object inside it."""
    return quote(value)
