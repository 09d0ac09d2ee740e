"""A stand-in for a site's HTTP proxy: it alone knows where names of servers lead, and it wants a login."""

from __future__ import annotations

import http.client
import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

USER, PASSWORD = "carol", "p@ss-SECRET"
LOGIN = "carol:p%40ss-SECRET"
"As it stands in the proxy's URL."


class Proxy(ThreadingHTTPServer):
    """Every name leads to this machine, at the port that is asked for. ``asked`` are the requests with a good login."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.refused = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        """As a user writes it into HTTPS_PROXY."""
        return f"http://{LOGIN}@{self.address}"

    def handle_error(self, *_: object) -> None:
        """A client may hang up."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def may(self) -> bool:
        """Whether the request has the login; it is answered where it has not."""
        wanted = f"Basic {b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
        if self.headers["Proxy-Authorization"] == wanted:
            self.server.asked.append(f"{self.command} {self.path}")
            return True
        self.server.refused += 1
        self.send_response(407)
        self.send_header("Proxy-Authenticate", 'Basic realm="site"')
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        return False

    def do_CONNECT(self) -> None:
        self.close_connection = True
        if not self.may():
            return
        with socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2]))) as there:
            self.send_response(200)
            self.end_headers()
            back = Thread(target=pour, args=(there, self.connection), daemon=True)
            back.start()
            pour(self.connection, there)
            back.join()

    def do_GET(self) -> None:
        if not self.may():
            return
        to = urlsplit(self.path)
        connection = http.client.HTTPConnection("127.0.0.1", to.port or 80, timeout=30)
        connection.request(self.command, f"{to.path}?{to.query}" if to.query else to.path, headers={"Host": to.netloc})
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"] or "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)
        connection.close()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing: the tests look at ``asked``."""


def pour(source: socket.socket, target: socket.socket) -> None:
    """What comes from one side goes to the other, until it ends."""
    with suppress(OSError):
        while piece := source.recv(2**16):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def a_proxy() -> Iterator[Proxy]:
    """A proxy that runs."""
    proxy = Proxy()
    thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield proxy
    proxy.shutdown()
    proxy.server_close()
