"""What every flow shares: the lock of its run and a cheap start."""

from __future__ import annotations

import functools
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from prefect.client.schemas.objects import State
from prefect.utilities.annotations import quote

from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.core.subprocesses import end_with_parent

SERVER_SECONDS = 5.0
"""How long a Prefect server may take to say that it is there."""


@contextmanager
def light() -> Iterator[None]:
    """Without a server there is nobody to send heartbeats to, and they cost a second a flow."""
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    if url := PREFECT_API_URL.value():
        _refuse_dead_server(str(url))
        lost = f"PREFECT_API_URL = {url}: the Prefect server was lost"
        with _named(lost, "start it again, or unset the variable", str(url)):
            yield
        return
    _bind_server_to_this_process()
    with (
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
        _named(
            "Prefect's own server did not start or was lost",
            "give the same command again (PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS is how long it may take)",
        ),
    ):
        yield


def _refuse_dead_server(url: str) -> None:
    """UserError, within seconds, unless a Prefect server answers there. Prefect itself would try for minutes."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    try:
        with (
            temporary_settings({PREFECT_API_REQUEST_TIMEOUT: SERVER_SECONDS, PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True) as client,
        ):
            fault = client.api_healthcheck()
    except Exception as error:  # whatever a client makes of a wrong URL
        fault = error
    if fault is not None:
        raise UserError(
            f"PREFECT_API_URL = {url}: no Prefect server answers there ({_said(fault)}); start it (prefect server "
            "start), or unset the variable to work without one"
        )


@contextmanager
def _named(what: str, cure: str, url: str = "") -> Iterator[None]:
    """A server that goes away in the middle is named; what stands is not done again."""
    try:
        yield
    except (httpx.HTTPError, RuntimeError) as error:
        if not _of_server(error, url):
            raise
        raise WorkError(f"{what} ({_said(error)}): {cure}; what is finished stands") from error


def _of_server(error: Exception, url: str) -> bool:
    """Whether the fault is Prefect's server's, and not that of a tool or model which uses the network as well."""
    if isinstance(error, RuntimeError):
        return "reach API" in str(error) or "ephemeral Prefect API" in str(error)
    try:
        asked = error.request.url if isinstance(error, httpx.HTTPError) else None
    except RuntimeError:  # it never came to a request
        return True
    return asked is not None and asked.host == (urlsplit(url).hostname if url else "127.0.0.1")


def _said(fault: Exception) -> str:
    """The first line of what a library says, without its links."""
    first = (str(fault).strip().splitlines() or [""])[0]
    return first.partition(" - For more information")[0].rstrip(".") or type(fault).__name__


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
