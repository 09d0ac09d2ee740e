"""The port of this machine that leads to a service. relay.py is the real one, and runs here."""

from __future__ import annotations

import http.server
import importlib.util
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.test_channels import INSIDE, MARK, START, TOKEN, ready
from tfslurm.errors import CommandFailed, Completed, HostError, InputError
from tfslurm.host.local import LocalHost
from tfslurm.host.pipe import Pipe
from tfslurm.job_plan.holding import Service
from tfslurm.services.service import Attached


class Near:
    """A stand-in for services.enter.Way: the step of the job is a process of this machine."""

    def __init__(self, state: Path, port: int) -> None:
        self.job = SimpleNamespace(key="alpha:1")
        self.words = (str(INSIDE), str(state), str(port))
        self.pipes: list[Pipe] = []
        self.refuses: list[int] = []

    def open_pipe(self, command: Sequence[str]) -> Pipe:
        if self.refuses:
            code = self.refuses.pop(0)
            raise CommandFailed(Completed(tuple(command), code, "", "no step", "alpha"))
        code_text = START + "import relay; relay.connect(sys.argv[2], int(sys.argv[3]))"
        self.pipes.append(LocalHost().open_pipe([sys.executable, "-c", code_text, *self.words], MARK))
        return self.pipes[-1]


class Jupyter(http.server.BaseHTTPRequestHandler):
    """Answers who knows the token."""

    def do_GET(self) -> None:
        is_known = self.headers["Authorization"] == f"token {TOKEN}"
        body = self.path.encode() if is_known else b"no"
        self.send_response(302 if self.path == "/away" else 200 if is_known and self.path != "/none" else 403)
        self.send_header("Location", "/none")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def near(tmp_path: Path) -> Iterator[Near]:
    """The way to a server that answers."""
    ready(tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Jupyter) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield Near(tmp_path, server.server_address[1])
        server.shutdown()
        thread.join()


def attached(near: Near, said: list[str], port: int = 0) -> Attached:
    way: Any = near
    session: Any = SimpleNamespace(say=said.append)
    return Attached(session, way, Service("jupyter", 60), port)


def test_a_request_has_the_token_and_a_refusal_is_an_answer(near: Near) -> None:
    with attached(near, []) as service:
        assert re.fullmatch(rf"http://127\.0\.0\.1:{service.port}/\?token={TOKEN}", service.url)
        assert TOKEN not in repr(service)
        assert service.request("/api/status") == (200, b"/api/status")
        assert service.request("/none").status == 403
        assert service.request("/away").status == 302, "it is not followed: the token would be"
        with pytest.raises(InputError, match="does not begin with /"):
            service.request("api")
        with pytest.raises(InputError, match="is in use on this machine"):
            attached(near, [], service.port)
    with pytest.raises(HostError, match="alpha:1: does not answer"):
        service.request("/api/status")


def test_a_way_that_is_lost_comes_back_to_the_same_port_until_the_job_has_ended(
    near: Near, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfslurm.services.service.FIRST_S", 0.01)
    said: list[str] = []
    with attached(near, said) as service:
        near.refuses = [1]  # a step that Slurm does not make this time
        near.pipes[-1].close()
        assert service.request("/again") == (200, b"/again")
        assert (said, len(near.pipes)) == (["alpha:1: the line was lost, and is back"], 2)
        near.refuses = [78]  # as exec-step.sh ends where there is no container any more
        near.pipes[-1].close()
        assert service.ended.wait(30)
        with pytest.raises(HostError, match="alpha:1: does not answer"):
            service.request("/api/status")


class Open(Jupyter):
    """Lets anybody in."""

    def do_GET(self) -> None:
        del self.headers["Authorization"]
        self.headers["Authorization"] = f"token {TOKEN}"
        super().do_GET()


def test_a_server_that_lets_anybody_in_or_not_who_has_its_token_is_refused(near: Near) -> None:
    spec = importlib.util.spec_from_file_location("service", INSIDE / "service.py")
    assert spec and spec.loader
    service = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(service)
    port = int(near.words[2])
    service.check_token(TOKEN, port)
    with pytest.raises(service.Refused, match="does not take its token"):
        service.check_token("another", port)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Open) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        with pytest.raises(service.Refused, match="asks for no token"):
            service.check_token(TOKEN, server.server_address[1])
        server.shutdown()
        thread.join()
