"""An index that sends without end: uv and pip are stopped before they have taken the machine's memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.test_packages import Shop, shop
from tfslurm.packages import programs

__all__ = ["shop"]
MEMORY = 256 * 2**20
LINE = b'<a href="pytz-2025.2-py3-none-any.whl">pytz-2025.2-py3-none-any.whl</a>\n' * 4096


class Endless(BaseHTTPRequestHandler):
    """A page of links that never ends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(b"<!DOCTYPE html><html><body>")
            while True:
                self.wfile.write(LINE)

    def log_message(self, *_: object) -> None:
        """Nothing: no test reads it."""


@pytest.fixture
def endless() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize("by", ["uv", "pip"])
def test_a_page_without_end_ends_in_one_error_before_memory_does(
    by: str, shop: Shop, endless: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(programs, "MEMORY_BYTES", MEMORY)
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", endless)
    monkeypatch.setenv("UV_CACHE_DIR", str(shop.wheels.with_name("uv-cache")))
    if by == "pip":
        monkeypatch.setattr("tfslurm.packages.resolve.find_uv", tuple)
    assert shop.laptop.type("plan", shop.write("pytz")) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert "an index, or a file on it, is larger than the memory that uv and pip may use" in line
    assert "; ask whoever runs the index; `pip config list` names its address" in line


def test_a_limit_of_the_site_below_ours_holds() -> None:
    word = programs.bounded(["true"])[1]
    assert word == f"--data={programs.MEMORY_BYTES}"
    shell = ["prlimit", f"--data={MEMORY}", "--", sys.executable, "-c"]
    done = programs.call([*shell, "from tfslurm.packages.programs import bounded; print(bounded(['true'])[1])"])
    assert done.stdout.strip() == f"--data={MEMORY}"
