"""A service's page in the user's browser, whose arguments other users of this machine see: so no token is in them.

The browser is sent to an address of this process, which works once, and only for a connection of the user's own. It
leads on to the service's URL (ADR 83).
"""

from __future__ import annotations

import hmac
import http.server
import os
import secrets
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any

from tfslurm.host.forward import LOOPBACK

START = "import sys, webbrowser; sys.exit(not webbrowser.open(sys.argv[1]))"
"In a process of its own: a browser may print, and Ctrl-C in this terminal would end it."
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
CONNECTIONS = (("/proc/net/tcp", ""), ("/proc/net/tcp6", "0000000000000000FFFF0000"))
"The kernel's tables, and what stands there before an address of IPv4. Source: proc_net_tcp.txt of Linux."
SLOW_S = 10.0
"A request that takes longer to come is dropped."


class OneTime(http.server.ThreadingHTTPServer):
    """An address of this machine that leads once, and only this user, to a URL; a context manager, which closes it.

    Until then it is held, so that nobody else's server gets a request that comes again.
    """

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__((LOOPBACK, 0), Lead)
        self._url, self._nonce, self._guard = url, secrets.token_urlsafe(24), threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.2,), name="browser", daemon=True).start()

    def server_bind(self) -> None:
        """Bind, and ask no name server for this machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, self.socket.getsockname()[1]

    @property
    def address(self) -> str:
        """What a browser is started with."""
        return f"http://{LOOPBACK}:{self.server_port}/{self._nonce}"

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the connection is this user's own."""
        return uid_of(client_address, self.server_address) == os.geteuid()

    def take(self, path: str) -> str | None:
        """The URL for the first who asks for the right path, '' for those after; None: it is another path."""
        if not hmac.compare_digest(path.encode(), f"/{self._nonce}".encode()):
            return None
        with self._guard:
            url, self._url = self._url, ""
        return url

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that broke."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()


class Lead(http.server.BaseHTTPRequestHandler):
    """One request."""

    timeout = SLOW_S
    server: OneTime

    def do_GET(self) -> None:
        """Lead on."""
        url = self.server.take(self.path)
        unled = HTTPStatus.NOT_FOUND if url is None else HTTPStatus.GONE
        self.send_response(HTTPStatus.FOUND if url else unled)
        if url:
            self.send_header("Location", url)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def open_page(url: str, say: Callable[[str], None]) -> OneTime | None:
    """Start the user's browser on a URL; what it is led by, which is to be kept until then. None: none is started.

    ``say`` is told where no browser starts, and why.
    """
    if sys.platform == "linux" and not any(os.environ.get(name) for name in DISPLAYS):
        say("no display here, so no browser was started; open the URL yourself")
        return None
    if not any(os.access(table, os.R_OK) for table, _ in CONNECTIONS):
        say("this system does not tell whose a connection is, so no browser was started; open the URL yourself")
        return None
    lead = OneTime(url)

    def start() -> None:
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        argv = [sys.executable, "-I", "-c", START, lead.address]
        try:
            code = subprocess.run(argv, **silent, start_new_session=True, check=False).returncode  # type: ignore[call-overload]
        except OSError:
            code = 1
        if code:
            say("no browser could be started; open the URL yourself")

    threading.Thread(target=start, name="browser", daemon=True).start()
    return lead


def uid_of(near: tuple[str, int], far: tuple[Any, ...]) -> int | None:
    """The user whose socket the end ``near`` of a connection of this machine is; None: the kernel does not say."""
    ends = tuple(f"{struct.unpack('=I', socket.inet_aton(host))[0]:08X}:{port:04X}" for host, port in (near, far[:2]))
    for table, before in CONNECTIONS:
        wanted = [before + end for end in ends]
        try:
            rows = Path(table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            words = row.split()
            if words[1:3] == wanted:
                return int(words[7])
    return None
