"""Nothing is waited for without end: a Prefect server, a tool, a verifier, a trainer."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import settings

from apportion.flows.common import light
from apportion.pipeline.core.errors import UserError, WorkError
from apportion.pipeline.core.limits import limited
from apportion.pipeline.teams.base import Agent, Conversation
from apportion.pipeline.training import job
from apportion.pipeline.trajectory.task import make_task


@contextmanager
def prefect_at(url: str) -> Iterator[None]:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}):
        yield


@contextmanager
def answering(code: int) -> Iterator[str]:
    """The address of a server that gives this status to every question."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"true")

        def log_message(self, *said: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refusal(url: str) -> str:
    with prefect_at(url), pytest.raises(UserError) as caught, light():
        pytest.fail("work began")
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"PREFECT_API_URL = {url}: no Prefect server answers there (")
    assert line.endswith("start it (prefect server start), or unset the variable to work without one")
    return line


def test_a_dead_prefect_server_is_named_with_the_cure():
    assert "Connection refused" in refusal("http://127.0.0.1:9/api")
    assert "protocol" in refusal("nonsense")


def test_a_prefect_server_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("apportion.flows.common.SERVER_SECONDS", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert "timed out" in refusal(f"http://127.0.0.1:{silent.getsockname()[1]}/api")


def test_what_is_no_prefect_server_is_refused_and_one_that_answers_is_not():
    with answering(404) as url:
        assert "404 Not Found" in refusal(url)
    with answering(200) as url, prefect_at(url), light():
        pass


def test_a_server_that_is_lost_on_the_way_is_named_and_other_faults_stay_what_they_are():
    def lost(where: str) -> httpx.ConnectError:
        return httpx.ConnectError("refused", request=httpx.Request("GET", where))

    with answering(200) as url, prefect_at(url):
        with pytest.raises(WorkError, match=r"PREFECT_API_URL = .*: the Prefect server was lost \(refused\)"), light():
            raise lost(f"{url}/flows")
        with pytest.raises(httpx.ConnectError), light():
            raise lost("http://elsewhere.example/search")
        with pytest.raises(UserError, match="mine"), light():
            raise UserError("mine")


def test_a_block_ends_at_its_limit_and_leaves_no_clock_behind():
    with pytest.raises(TimeoutError, match=r"^tool wait took longer than 0\.01 s$"), limited("tool wait", 0.01):
        threading.Event().wait(60)
    with limited("quick", 60):
        pass
    with limited("outer", 60), limited("inner", 0.000001):
        pass


def test_a_tool_that_never_comes_back_ends_its_conversation_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("apportion.pipeline.core.limits.SECONDS", 0.01)

    class Waits:
        name = "wait"

        def run(self, text: str) -> Any:
            threading.Event().wait(60)

    talk = Conversation(
        make_task("q?", ["a"], source="s", split=""), [Agent("a", "solo", tools={"ask": "wait"})], {"wait": Waits()}, 2
    )
    message = talk.write(talk.turn("a", [talk.question]), "ask: x")
    with pytest.raises(TimeoutError, match="tool wait took longer than"):
        talk.use_tool(message, "ask", "x")


def test_a_trainer_that_says_nothing_any_more_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    script = "import time; time.sleep(600)"
    monkeypatch.setattr(job, "_command", lambda file, processes: [sys.executable, "-c", script])
    asked = job.Job("grpo", "m", "d", str(tmp_path / "o"), "l")
    with pytest.raises(WorkError, match=r"the trainer does nothing any more \(silent for 1 s\) and was ended"):
        job.launch(asked, silence=1.0)


def test_a_trainer_that_closes_its_output_and_stays_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    script = "import os, time; os.close(1); time.sleep(600)"
    monkeypatch.setattr(job, "_command", lambda file, processes: [sys.executable, "-c", script])
    monkeypatch.setattr(job, "_END_SECONDS", 0.05)
    begin = time.monotonic()
    with pytest.raises(WorkError, match="does nothing any more"):
        job.launch(job.Job("grpo", "m", "d", str(tmp_path / "o"), "l"))
    assert time.monotonic() - begin < 600


def test_no_property_test_has_a_deadline_that_a_busy_machine_would_miss():
    assert settings.default.deadline is None
